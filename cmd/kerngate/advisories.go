package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/profiles/advisories"
)

func newAdvisories(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "advisories",
		Short: "List, show, import and date what is known of CVEs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAdvisoriesList(u), newAdvisoriesShow(u), newAdvisoriesImport(u), newAdvisoriesAge(u))
	return cmd
}

func newAdvisoriesList(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the shipped advisories",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if u.json {
				return u.encode(struct {
					Schema     int                `json:"schema"`
					Advisories []advisories.Table `json:"advisories"`
				}{builder.ReportSchema, advisories.Shipped()})
			}
			for _, t := range advisories.Shipped() {
				u.printf("%s  %s  %-28s %s\n", t.CVE, t.Date, orNone(strings.Join(t.Modules, ", ")), nameOf(t))
			}
			return nil
		},
	}
}

func nameOf(t advisories.Table) string {
	if t.Name == "" {
		return t.Title
	}
	return t.Name
}

func newAdvisoriesShow(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "show CVE|FILE",
		Short: "Show an advisory: since when, fixed where, by whose word",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := loadAdvisory(args[0])
			if err != nil {
				return err
			}
			if u.json {
				return u.encode(t)
			}
			showAdvisory(u, t)
			return nil
		},
	}
}

// loadAdvisory takes a word with a slash or with the ending .toml for a path, as it is
// with profiles.
func loadAdvisory(word string) (advisories.Table, error) {
	if strings.Contains(word, "/") || strings.HasSuffix(word, ".toml") {
		return advisories.Load(word)
	}
	t, found := advisories.Lookup(word)
	if !found {
		return t, &hinted{fmt.Errorf("no advisory of %s is shipped", word), "kerngate advisories list shows those that are; a path has a slash or ends in .toml"}
	}
	return t, nil
}

func showAdvisory(u *ui, t advisories.Table) {
	u.printf("advisory    %s %s\n", t.CVE, t.Name)
	u.printf("            %s\n", t.Title)
	u.printf("as of       %s, %s\n", t.Date, t.Source)
	u.printf("closed by   %s\n", orNone(strings.Join(t.Modules, ", ")))
	u.printf("introduced  %s\n", joinedReleases(t.Introduced))
	u.printf("fixed       %s\n", joinedReleases(t.Fixed))
	u.printf("never       %s\n", orNone(joinedReleases(t.Never)))
	for i, r := range t.Rows {
		version := r.Version
		if r.Open != "" {
			version += ", open up to " + r.Open
		}
		u.printf("%-11s %-16s %-10s %-30s %s", r.Distribution, r.Stream, string(r.State), version, r.Source)
		if t.Notes[i] != "" {
			u.printf(" (%s)", t.Notes[i])
		}
		u.write("\n")
	}
}

func joinedReleases[T fmt.Stringer](releases []T) string {
	var texts []string
	for _, r := range releases {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, ", ")
}

func newAdvisoriesAge(u *ui) *cobra.Command {
	maxAge := 0
	cmd := &cobra.Command{
		Use:   "age [CVE|FILE...]",
		Short: "Show how old advisories are; exit 1 if one is older than --max-age",
		RunE: func(_ *cobra.Command, args []string) error {
			if maxAge < 0 {
				return usageError{fmt.Errorf("--max-age is %d, want a number of days", maxAge)}
			}
			now, err := buildTime()
			if err != nil {
				return err
			}
			tables := advisories.Shipped()
			if len(args) > 0 {
				tables = nil
			}
			for _, word := range args {
				t, err := loadAdvisory(word)
				if err != nil {
					return err
				}
				tables = append(tables, t)
			}
			return showAges(u, tables, now, maxAge)
		},
	}
	cmd.Flags().IntVar(&maxAge, "max-age", 0, "days after its date that an advisory holds (0: for ever)")
	return cmd
}

// showAges takes an advisory of the future for too old: the clock is wrong, and nothing
// can be said.
func showAges(u *ui, tables []advisories.Table, now time.Time, maxAge int) error {
	type row struct {
		CVE  string `json:"cve"`
		Date string `json:"date"`
		Days int    `json:"days"` // -1: the date is still to come
		Old  bool   `json:"too_old"`
	}
	rows, tooOld := []row{}, false
	for _, t := range tables {
		days := t.Age(now)
		old := maxAge > 0 && (days > maxAge || days < 0)
		rows, tooOld = append(rows, row{t.CVE, t.Date, days, old}), tooOld || old
	}
	if u.json {
		err := u.encode(struct {
			Schema     int   `json:"schema"`
			Advisories []row `json:"advisories"`
		}{builder.ReportSchema, rows})
		if err != nil {
			return err
		}
	} else {
		for _, r := range rows {
			mark := ""
			if r.Old {
				mark = fmt.Sprintf(", more than %d", maxAge)
			}
			u.printf("%s  %s  %d days%s\n", r.CVE, r.Date, r.Days, mark)
		}
	}
	if tooOld {
		return exit(exitNot)
	}
	return nil
}

// importFlags are what the import is told.
type importFlags struct {
	out  string
	date string
	cves []string
}

func newAdvisoriesImport(u *ui) *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use:   "import -o DIR FILE|DIR...",
		Short: "Make advisories out of CVE records (schema 5) of the kernel's CNA",
		Long: "Import reads CVE records from files and writes DIR/CVE-….toml for each, or none if one of them has a fault.\n" +
			"Of a directory, with all below it, it takes the records of the CVEs that it has an advisory of, and those\n" +
			"that --cve names. Names, modules and the rows of distributions are kept from the advisory in DIR, else from\n" +
			"the shipped one. Nothing is fetched from the network.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return importAdvisories(u, f, args) },
	}
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "directory for the advisories")
	cmd.Flags().StringVar(&f.date, "date", "", "when the records were true, as in 2026-08-21 (default: what each says itself)")
	cmd.Flags().StringSliceVar(&f.cves, "cve", nil, "take this CVE from directories too")
	return cmd
}

// importedFile is one advisory that was written.
type importedFile struct {
	CVE      string   `json:"cve"`
	File     string   `json:"file"`
	Warnings []string `json:"warnings"`
}

func importAdvisories(u *ui, f *importFlags, args []string) error {
	if f.out == "" {
		return usageError{errors.New("no directory for the advisories: give --output DIR")}
	}
	var date time.Time
	if f.date != "" {
		var err error
		if date, err = time.Parse(time.DateOnly, f.date); err != nil {
			return usageError{fmt.Errorf("--date is %q, want the form 2026-08-21", f.date)}
		}
	}
	names, err := f.records(args)
	if err != nil {
		return err
	}
	var tables []advisories.Imported
	var faults []error
	for _, name := range names {
		t, err := advisories.ImportFile(name, date, f.before)
		tables, faults = append(tables, t), append(faults, err)
	}
	err = errors.Join(faults...)
	if errors.Is(err, advisories.ErrNoDate) {
		return &hinted{err, "--date says when the records were true: the day of their snapshot"}
	}
	if err != nil {
		return err
	}
	return f.write(u, tables)
}

// records lists the files to import.
func (f *importFlags) records(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			names = append(names, arg)
			continue
		}
		found, err := advisories.Records(arg)
		if err != nil {
			return nil, err
		}
		names = append(names, slices.DeleteFunc(found, func(name string) bool { return !f.wanted(name) })...)
	}
	if len(names) == 0 {
		return nil, &hinted{errors.New("no record of a known CVE was found"), "--cve CVE-… takes others; records are called CVE-….json"}
	}
	return names, nil
}

func (f *importFlags) wanted(name string) bool {
	cve := strings.TrimSuffix(filepath.Base(name), ".json")
	_, known := f.before(cve)
	return known || slices.Contains(f.cves, cve)
}

// before finds the advisory that an imported one takes the place of.
func (f *importFlags) before(cve string) (advisories.Table, bool) {
	if t, err := advisories.Load(f.file(cve)); err == nil {
		return t, true
	}
	return advisories.Lookup(cve)
}

func (f *importFlags) file(cve string) string { return filepath.Join(f.out, cve+".toml") }

func (f *importFlags) write(u *ui, tables []advisories.Imported) error {
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	for _, t := range tables {
		if err := f.mayReplace(f.file(t.CVE)); err != nil {
			return err
		}
	}
	written := []importedFile{}
	for _, t := range tables {
		name := f.file(t.CVE)
		if err := renameio.WriteFile(name, advisories.Format(t.Table), 0o644); err != nil {
			return fmt.Errorf("cannot write advisory: %w", err)
		}
		written = append(written, importedFile{t.CVE, name, append([]string{}, t.Warnings...)})
		for _, w := range t.Warnings {
			u.warn(t.CVE + ": " + w)
		}
	}
	if u.json {
		return u.encode(struct {
			Schema   int            `json:"schema"`
			Imported []importedFile `json:"imported"`
		}{builder.ReportSchema, written})
	}
	for _, w := range written {
		u.printf("%s\n", w.File)
	}
	return nil
}

// mayReplace keeps a file that is no advisory: a hand-written table with a fault would
// lose its rows.
func (f *importFlags) mayReplace(name string) error {
	_, err := advisories.Load(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &hinted{err, "mend it or move it away; nothing takes its place"}
}
