package advisories

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/initcheck/kver"
)

// record is what is read of a CVE record (CVE JSON record format 5, cveproject/cve-schema).
type record struct {
	DataType    string `json:"dataType"`
	DataVersion string `json:"dataVersion"`
	Metadata    struct {
		ID      string `json:"cveId"`
		State   string `json:"state"`
		Updated string `json:"dateUpdated"`
	} `json:"cveMetadata"`
	Containers struct {
		CNA struct {
			Title    string     `json:"title"`
			Affected []affected `json:"affected"`
		} `json:"cna"`
	} `json:"containers"`
}

// affected is one block of versions. What is not listed has the default status.
type affected struct {
	Vendor   string         `json:"vendor"`
	Product  string         `json:"product"`
	Default  string         `json:"defaultStatus"`
	Versions []versionRange `json:"versions"`
}

// versionRange is one version, or a range from it. The kernel's CNA writes the first
// release with a fix as unaffected up to the end of its branch, "5.10.*", and the mainline's up
// to the end of all, "*".
type versionRange struct {
	Version         string `json:"version"`
	Status          string `json:"status"`
	Type            string `json:"versionType"`
	LessThan        string `json:"lessThan"`
	LessThanOrEqual string `json:"lessThanOrEqual"`
}

// ErrNotKernel tells that a record is of something other than the Linux kernel, or of
// nothing any more: it was rejected.
var ErrNotKernel = errors.New("is no published record of the Linux kernel")

func parseRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("is no CVE record: %s", printable(err.Error()))
	}
	if r.DataType != "CVE_RECORD" || !strings.HasPrefix(r.DataVersion, "5.") {
		return r, fmt.Errorf("is no CVE record of schema 5: dataType is %.40q, dataVersion is %.40q", r.DataType, r.DataVersion)
	}
	isKernel := func(b affected) bool { return b.Vendor == "Linux" && b.Product == "Linux" }
	if r.Metadata.State != "PUBLISHED" || !slices.ContainsFunc(r.Containers.CNA.Affected, isKernel) {
		return r, ErrNotKernel
	}
	r.Containers.CNA.Affected = slices.DeleteFunc(r.Containers.CNA.Affected, func(b affected) bool { return !isKernel(b) })
	return r, nil
}

// history is what the blocks of a record say of releases.
type history struct {
	mainline   []kver.Release                // where the flaw came into the mainline
	clean      []kver.Release                // everything below is said to be without it
	backported []kver.Release                // where it came into stable branches
	fixed      map[kver.Release]kver.Release // by branch: the last release listed as fixed
	fixedAll   []kver.Release                // the releases from which on all branches are fixed
	ended      []kver.Release                // branches that have the flaw up to their end
	faults     []error
}

func (r record) history() (history, error) {
	h := history{fixed: make(map[kver.Release]kver.Release)}
	for _, block := range r.Containers.CNA.Affected {
		for _, v := range block.Versions {
			if v.Type == "git" {
				continue
			}
			h.add(block.Default, v)
		}
	}
	return h, errors.Join(h.faults...)
}

// add takes one row. What it cannot place is a fault: a row that is passed over may be
// the one that says vulnerable.
func (h *history) add(byDefault string, v versionRange) {
	switch {
	case v.Status == "unaffected" && v.Version == "0":
		h.clean = h.release(h.clean, v.LessThan)
	case v.Status == "unaffected" && v.LessThanOrEqual == "*":
		h.fixedAll = h.release(h.fixedAll, v.Version)
	case v.Status == "unaffected" && strings.HasSuffix(v.LessThanOrEqual, ".*"):
		h.addFixed(v)
	case v.Status == "affected" && byDefault == "affected" && v.LessThan == "" && v.LessThanOrEqual == "":
		h.mainline = h.release(h.mainline, v.Version)
	case v.Status == "affected" && v.LessThan != "":
		h.addBackport(v)
	default:
		h.faults = append(h.faults, fmt.Errorf("cannot place the row {version %.40q, status %.40q, lessThan %.40q, lessThanOrEqual %.40q}", v.Version, v.Status, v.LessThan, v.LessThanOrEqual))
	}
}

func (h *history) release(list []kver.Release, text string) []kver.Release {
	r, err := kver.ParseFloor(text)
	if err != nil {
		h.faults = append(h.faults, err)
		return list
	}
	return append(list, r)
}

func (h *history) addFixed(v versionRange) {
	r, err := kver.ParseFloor(v.Version)
	if err == nil && r.Branch().String()+".*" != v.LessThanOrEqual {
		err = fmt.Errorf("fixed release %s is not of the branch %.40q", r, v.LessThanOrEqual)
	}
	if err != nil {
		h.faults = append(h.faults, err)
		return
	}
	h.fix(r)
}

// fix keeps the later of two releases of one branch: where a fix came in two parts, the
// first of them is not the fix.
func (h *history) fix(r kver.Release) {
	if before, found := h.fixed[r.Branch()]; !found || kver.Compare(before, r) < 0 {
		h.fixed[r.Branch()] = r
	}
}

// addBackport reads a range of releases with the flaw, which begins in a stable branch
// and ends with its fix or with the branch.
func (h *history) addBackport(v versionRange) {
	from, err := kver.ParseFloor(v.Version)
	to, errTo := kver.ParseFloor(v.LessThan)
	if err = errors.Join(err, errTo); err == nil && kver.Compare(from, to) >= 0 {
		err = fmt.Errorf("a range goes from %s to %s", from, to)
	}
	if err != nil {
		h.faults = append(h.faults, err)
		return
	}
	h.backported = append(h.backported, from)
	if to.Branch() == from.Branch() {
		h.fix(to)
	} else {
		h.ended = append(h.ended, from.Branch())
	}
}
