package builder_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// appliedRoot is a root with the profile llm-node applied, and the request that did.
func appliedRoot(t *testing.T) (string, builder.Request) {
	t.Helper()
	r := request(t, newRoot(t), "")
	if _, err := builder.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r.Target, r
}

// refused applies a build that must be refused with nothing changed.
func refused(t *testing.T, r builder.Request, want string) {
	t.Helper()
	before := dump(t, r.Target)
	_, err := builder.Apply(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error is %v, want one with %q", err, want)
	}
	if hint, ok := err.(interface{ Unwrap() error }).Unwrap().(interface{ Hint() string }); !ok || hint.Hint() == "" {
		t.Errorf("error %v has no hint", err)
	}
	if after := dump(t, r.Target); after != before {
		t.Errorf("directory was changed:\nbefore:\n%safter:\n%s", before, after)
	}
}

// TestManifestThatNoBuildWrote edits the list of what we wrote, by which files are
// removed. Each edit is refused.
func TestManifestThatNoBuildWrote(t *testing.T) {
	const dropIn = "/usr/lib/systemd/system/vllm.service.d/50-kerngate.conf"
	edits := map[string]struct {
		edit func(*builder.Manifest, *builder.ManifestEntry)
		want string
	}{
		"entry twice": {func(m *builder.Manifest, e *builder.ManifestEntry) {
			m.Entries = slices.Insert(m.Entries, slices.Index(m.Entries, *e), *e)
		}, "each once"},
		"order reversed": {func(m *builder.Manifest, _ *builder.ManifestEntry) { slices.Reverse(m.Entries) }, "want them sorted"},
		"file called a directory": {func(_ *builder.Manifest, e *builder.ManifestEntry) {
			e.Op = rootfs.Mkdir
		}, `is "mkdir", want "write"`},
		"directory called a file": {func(_ *builder.Manifest, e *builder.ManifestEntry) {
			e.Path = filepath.Dir(e.Path)
		}, `is "write", want "mkdir"`},
		"no operation":    {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.Op = "" }, `is "", want "write"`},
		"no hash":         {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.SHA256 = "" }, "want 64 hexadecimal digits"},
		"half a hash":     {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.SHA256 = e.SHA256[:32] }, "want 64 hexadecimal digits"},
		"hash is a word":  {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.SHA256 = strings.Repeat("x", 64) }, "want 64 hexadecimal digits"},
		"somebody's file": {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.Path = "/etc/passwd" }, "never writes"},
		"path with dots": {func(_ *builder.Manifest, e *builder.ManifestEntry) {
			e.Path = "/usr/lib/systemd/system/../../../../etc/x.d/50-kerngate.conf"
		}, "never writes"},
		"root":         {func(_ *builder.Manifest, e *builder.ManifestEntry) { e.Path, e.Op = "/", rootfs.Mkdir }, "never writes"},
		"other schema": {func(m *builder.Manifest, _ *builder.ManifestEntry) { m.Schema = 2 }, "schema is 2, want 1"},
	}
	root, r := appliedRoot(t)
	file := filepath.Join(root, builder.ManifestPath)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r.Profile, err = profiles.Load("copy-fail"); err != nil {
		t.Fatal(err)
	}
	for name, c := range edits {
		t.Run(name, func(t *testing.T) {
			var m builder.Manifest
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(m.Entries, func(e builder.ManifestEntry) bool { return e.Path == dropIn })
			if i < 0 {
				t.Fatalf("manifest does not list %s", dropIn)
			}
			c.edit(&m, &m.Entries[i])
			edited, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, edited, 0o644); err != nil {
				t.Fatal(err)
			}
			refused(t, r, c.want)
		})
	}
}

// TestManifestIsNoFile puts something else in the manifest's place.
func TestManifestIsNoFile(t *testing.T) {
	kinds := map[string]struct {
		put  func(name string) error
		want string
	}{
		"FIFO":           {func(name string) error { return unix.Mkfifo(name, 0o644) }, "it is a special file, want a regular file"},
		"directory":      {func(name string) error { return os.Mkdir(name, 0o755) }, "it is a directory, want a regular file"},
		"huge":           {hugeFile, "size is 5242880 bytes, limit is 4194304"},
		"empty":          {func(name string) error { return os.WriteFile(name, nil, 0o644) }, "EOF"},
		"link to a FIFO": {linkToFIFO, "it is a special file, want a regular file"},
	}
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			r := request(t, newRoot(t), "")
			file := filepath.Join(r.Target, builder.ManifestPath)
			if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.put(file); err != nil {
				t.Fatal(err)
			}
			refused(t, r, builder.ManifestPath+": "+c.want)
		})
	}
}

func hugeFile(name string) error {
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(name, 5<<20)
}

func linkToFIFO(name string) error {
	if err := unix.Mkfifo(name+".fifo", 0o644); err != nil {
		return err
	}
	return os.Symlink("manifest.json.fifo", name)
}

// TestProfilesInTurn: going to another profile and back ends where it began.
func TestProfilesInTurn(t *testing.T) {
	root, r := appliedRoot(t)
	first := dump(t, root)
	for _, name := range []string{"copy-fail", "dirty-frag", "llm-node"} {
		var err error
		if r.Profile, err = profiles.Load(name); err != nil {
			t.Fatal(err)
		}
		if _, err := builder.Apply(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if last := dump(t, root); last != first {
		t.Errorf("the tree is not as it was after the first build:\nfirst:\n%slast:\n%s", first, last)
	}
}

// TestLinksInTheTree: links in the image lead what is written to other places; two
// paths may end in one.
func TestLinksInTheTree(t *testing.T) {
	t.Parallel()
	const units = "usr/lib/systemd/system/"
	cases := map[string]struct {
		link, target, make string
		want               string // of the refusal; empty: the build works
	}{
		"sbin is bin":                   {"usr/sbin", "bin", "", ""},
		"modprobe.d is elsewhere":       {"etc/modprobe.d", "/opt/modprobe.d", "opt/modprobe.d", ""},
		"our directory is /etc":         {"usr/lib/kerngate", "../../../../etc", "", ""},
		"drop-ins alike in one place":   {units + "ollama.service.d", "vllm.service.d", units + "vllm.service.d", ""},
		"drop-ins unlike in one place":  {units + "local-ai.socket.d", "local-ai.service.d", units + "local-ai.service.d", "a link in the image makes it one with"},
		"directory leads nowhere":       {units + "vllm.service.d", "/nowhere", "", "it exists and kerngate did not write it"},
		"directory leads to itself":     {units + "vllm.service.d", "vllm.service.d", "", "symbolic links"},
		"policy and manifest elsewhere": {"usr/lib/kerngate", "/run", "run", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := request(t, newRoot(t), "")
			r.Profile.Gate.Units = []string{"ollama.service", "vllm.service", "local-ai.service", "local-ai.socket"}
			if c.make != "" {
				if err := os.MkdirAll(filepath.Join(r.Target, c.make), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			link := filepath.Join(r.Target, c.link)
			if err := os.RemoveAll(link); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(c.target, link); err != nil {
				t.Fatal(err)
			}
			if c.want != "" {
				before := dump(t, r.Target)
				if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error is %v, want one with %q", err, c.want)
				}
				if after := dump(t, r.Target); after != before {
					t.Errorf("directory was changed:\nbefore:\n%safter:\n%s", before, after)
				}
				return
			}
			inTurn(t, r)
		})
	}
}

// inTurn applies the profile, applies it again, which must change nothing, and then
// profiles that want less, so that what is shared by links is removed but not with
// what is still wanted.
func inTurn(t *testing.T, r builder.Request) {
	t.Helper()
	for _, p := range []profiles.Profile{r.Profile, r.Profile, withoutUnit(r.Profile, "ollama.service"), withoutUnit(r.Profile, "vllm.service")} {
		r.Profile = p
		if _, err := builder.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		again, err := builder.Apply(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if !again.Plan.Empty() {
			t.Errorf("applied again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
		}
	}
}

func withoutUnit(p profiles.Profile, unit string) profiles.Profile {
	p.Gate.Units = slices.DeleteFunc(slices.Clone(p.Gate.Units), func(u string) bool { return u == unit })
	p.Gate.Except = append(slices.Clone(p.Gate.Except), unit) // the tree may have it
	return p
}
