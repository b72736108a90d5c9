package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/kerngate/kerngate/"

// mayImport says which of our packages a room may import, by prefix. The order
// of the rooms is the architecture: see HACKING.md.
var mayImport = map[string][]string{
	"builder/rootfs":           {},
	"builder/ext4":             {"builder/rootfs"},
	"builder/undo":             {},
	"builder/fat":              {"builder/rootfs"},
	"builder/fnmatch":          {},
	"builder/modprobe":         {"builder/fnmatch", "builder/rootfs"},
	"builder/initramfs":        {"builder/rootfs"},
	"builder/report":           {"builder/rootfs", "builder/unit", "initcheck/notify/catalog", "initcheck/policy", "profiles"},
	"builder/udev":             {"builder/fnmatch", "builder/unitfile"},
	"builder/unit":             {"builder/rootfs", "builder/udev", "builder/unitfile", "initcheck/policy"},
	"builder/unitfile":         {},
	"builder/checker":          {"builder/rootfs"},
	"builder/selinux":          {"builder/rootfs"},
	"builder/bootentry":        {"builder/rootfs"},
	"builder/packages":         {"builder/rootfs"},
	"builder/pin":              {"builder/rootfs"},
	"builder/sideeffect":       {"builder/rootfs", "builder/packages", "profiles"},
	"builder/inference":        {"builder/rootfs", "builder/unitfile", "profiles"},
	"builder/kernel":           {"builder/rootfs", "builder/packages", "initcheck/kver"},
	"builder/image":            {"builder/rootfs", "builder/ext4", "builder/fat", "builder/undo"},
	"builder":                  {"builder/", "profiles", "initcheck"},
	"builder/imgtest":          {"builder/rootfs", "builder/machine"},
	"builder/machine":          {},
	"builder/rehearse":         {"builder", "initcheck"}, // above builder: it reads the manifest, and boots what builder's rooms find
	"profiles":                 {"profiles/advisories", "initcheck/advisory", "initcheck/policy", "initcheck/kver"},
	"profiles/advisories":      {"initcheck/advisory", "initcheck/kver"},
	"initcheck/kver":           {},
	"initcheck/pkgver":         {},
	"initcheck/advisory":       {"initcheck/kver", "initcheck/pkgver"},
	"initcheck/policy":         {"initcheck/advisory", "initcheck/kver"},
	"initcheck":                {"initcheck/"},
	"cmd/kerngate":             {"builder", "profiles", "initcheck/advisory"},
	"cmd/initcheck":            {"initcheck"},
	"initcheck/probe":          {"initcheck"},
	"initcheck/notify":         {"initcheck"},
	"initcheck/notify/catalog": {"initcheck/notify"},
	"initcheck/command":        {"initcheck"},
	"builder/imgtest/bootdisk": {"builder/imgtest"},

	"builder/imgtest/loadpaths": {"builder/imgtest/console"},

	"builder/imgtest/gatematrix": {"builder/imgtest/console", "initcheck/policy"},

	"builder/imgtest/console": {},
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("cannot list the packages: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		room := strings.TrimPrefix(words[0], module)
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("package %s has no line in the table: say what it may import", room)
			continue
		}
		seen++
		for _, imported := range words[1:] {
			if name, ours := strings.CutPrefix(imported, module); ours && !hasPrefix(name, allowed) {
				t.Errorf("%s imports %s, which it may not", room, name)
			}
		}
	}
	if seen != len(mayImport) {
		t.Errorf("packages seen: %d, want the %d of the table", seen, len(mayImport))
	}
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if name == p || strings.HasPrefix(name, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

// TestOnlyCommandsPrintAndExit keeps rooms testable: what ends the process or
// writes to the terminal is the command's business.
func TestOnlyCommandsPrintAndExit(t *testing.T) {
	forbidden := map[string]bool{"os.Exit": true, "fmt.Print": true, "fmt.Printf": true, "fmt.Println": true, "log.Fatal": true, "log.Print": true, "log.Printf": true, "os.Stdout": true, "os.Stderr": true}
	files := 0
	for _, top := range []string{"builder", "initcheck", "profiles"} {
		err := filepath.WalkDir(filepath.Join("../..", top), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			files++
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil || f.Name.Name == "main" { // a program for tests
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := sel.X.(*ast.Ident); ok && forbidden[pkg.Name+"."+sel.Sel.Name] {
					t.Errorf("%s uses %s.%s", name, pkg.Name, sel.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Errorf("files looked at: %d, want all of three trees", files)
	}
}
