package profiles

import (
	"slices"
	"strings"
	"testing"
)

// TestServersTable wants each unit once, and every class in the table.
func TestServersTable(t *testing.T) {
	table, err := decodeServers(inferenceText)
	if err != nil {
		t.Fatal(err)
	}
	classes, units := map[ServerClass]int{}, map[string]string{}
	for _, s := range table {
		classes[s.Class]++
		for _, u := range s.Units {
			if units[u] != "" {
				t.Errorf("%s stands with %s and with %s", u, units[u], s.Name)
			}
			units[u] = s.Name
		}
	}
	if classes[ClassInference] < 25 || classes[ClassRuntime] < 4 || classes[ClassKubelet] < 5 {
		t.Errorf("the table has %v", classes)
	}
}

// TestNodesGateTheTable wants the units of the table in the profiles that gate their class.
func TestNodesGateTheTable(t *testing.T) {
	for name, classes := range map[string][]ServerClass{
		"llm-node": {ClassInference}, "llm-node-patched": {ClassInference}, "llm-kube": {ClassInference, ClassRuntime, ClassKubelet},
	} {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range KnownServers() {
			for _, u := range s.Units {
				if gated := slices.Contains(p.Gate.Units, u); gated != slices.Contains(classes, s.Class) {
					t.Errorf("%s gates %s of %s: %v", name, u, s.Name, gated)
				}
			}
		}
	}
}

func TestServersRefused(t *testing.T) {
	const server = "[[server]]\nname = \"n\"\nclass = \"inference\"\nunits = [\"u.service\"]\nnames = [\"uu\"]\nprograms = [\"p serve\"]\nmodules = [\"mmm\"]\nimages = [\"a1/b*\"]\nsource = \"s\"\n"
	if _, err := decodeServers(server); err != nil {
		t.Fatalf("the case to change: %v", err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no source":         {`"s"`, `""`, `server "n": name is "n" and source "", want both`},
		"class":             {`"inference"`, `"server"`, `class is "server", want "inference"`},
		"no units":          {`["u.service"]`, `[]`, "units are 0 and names 1"},
		"no names":          {`["uu"]`, `[]`, "units are 1 and names 0"},
		"names of a class":  {`"inference"`, `"kubelet"`, "of class kubelet units alone"},
		"unit":              {`u.service`, `u.timer`, `unit "u.timer" is no name`},
		"name":              {`"uu"`, `"u*"`, `name "u*" has not the form`},
		"name of a letter":  {`"uu"`, `"u"`, `name "u" has not the form`},
		"program":           {`"p serve"`, `"p serve it"`, `program "p serve it" has not the form`},
		"program with path": {`"p serve"`, `"/bin/p"`, `program "/bin/p" has not the form`},
		"module":            {`"mmm"`, `"m"`, `module "m" has not the form`},
		"image":             {`"a1/b*"`, `"*"`, `image "*" has not the form`},
		"unknown key":       {`source`, "sauce = 1\nsource", "unknown keys [server.sauce]"},
		"type":              {`["uu"]`, `"uu"`, "incompatible types"},
	} {
		text := strings.Replace(server, c.old, c.new, 1)
		if _, err := decodeServers(text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	other := strings.Replace(strings.Replace(server, `"inference"`, `"kubelet"`, 1), `["uu"]`, "[]", 1)
	if _, err := decodeServers(other); err == nil || !strings.Contains(err.Error(), "is told by units alone") {
		t.Errorf("programs of a kubelet: %v", err)
	}
}

func TestExcepts(t *testing.T) {
	g := Gate{Except: []string{"a.service", "b-*.service", `c\x2dd.service`, "e?.socket"}}
	for name, want := range map[string]bool{
		"a.service": true, "aa.service": false, "a.socket": false, "b-.service": true, "b-x.service": true, "b-x.socket": false,
		`c\x2dd.service`: true, "c-d.service": false, "e1.socket": true, "e.socket": false,
	} {
		if got := g.Excepts(name); got != want {
			t.Errorf("%s is excepted: %v, want %v", name, got, want)
		}
	}
}

// TestExceptOfTwo: both files' words count, and a unit that one of them gates stays gated.
func TestExceptOfTwo(t *testing.T) {
	p := loadWith(t, "[gate]\nunits = [\"a.service\"]\nexcept = [\"z.service\", \"b.service\"]\n", "[gate]\nunits = [\"b.service\"]\nexcept = [\"c.service\", \"z.service\"]\n")
	if want := []string{"b.service", "c.service", "z.service"}; !slices.Equal(p.Gate.Except, want) {
		t.Errorf("except is %v, want %v", p.Gate.Except, want)
	}
	without := loadWith(t, "[gate]\nunits = [\"a.service\"]\n", "[gate]\nunits = [\"b.service\"]\n")
	if p.Digest() != without.Digest() {
		t.Errorf("digests are %s and %s, want one: no file is written otherwise", p.Digest(), without.Digest())
	}
	only := loadWith(t, "[gate]\nunits = [\"a.service\"]\n", "[gate]\nexcept = [\"c.service\"]\n")
	if !slices.Equal(only.Gate.Units, []string{"a.service"}) || !only.Gate.Excepts("c.service") {
		t.Errorf("a file with except alone gives %+v", only.Gate)
	}
}
