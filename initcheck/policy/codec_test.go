package policy

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

func full() Policy {
	return Policy{
		Schema:  Schema,
		Profile: "llm-node",
		Digest:  "sha256:" + strings.Repeat("0123456789abcdef", 4),
		Floor:   "7.0.6",
		Modules: []Module{
			{Name: "algif_aead", RefuseIf: []Condition{Loaded, BuiltIn}, Reason: "CVE-2026-31431"},
			{Name: "rxrpc", RefuseIf: []Condition{Loaded}, Reason: `CVE-2026-43500, "Dirty Frag" [{'ä'}] # \ =`},
		},
	}
}

// seal gives body the end line, as a careful forger would.
func seal(body string) []byte {
	return append([]byte(body), endLine([]byte(body))...)
}

const golden = `# Kernel policy of this machine, read at boot by initcheck.
# Written by kerngate. Do not edit: the checker refuses a changed file, and with it
# the inference units. To change the policy, edit the profile and run kerngate apply
# again.

schema = 1
profile = "llm-node"
profile_digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
floor = "7.0.6"

[[module]]
name = "algif_aead"
refuse_if = ["loaded", "builtin"]
reason = "CVE-2026-31431"

[[module]]
name = "rxrpc"
refuse_if = ["loaded"]
reason = "CVE-2026-43500, \"Dirty Frag\" [{'ä'}] # \\ ="
# end sha256=d1ec6ac134b9e102d55e76cb44d018c038246f2d916990e41671a358a5021b67
`

func TestEncodeGolden(t *testing.T) {
	for range 3 {
		got, err := Encode(full())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != golden {
			t.Fatalf("Encode gives\n%s\nwant\n%s", got, golden)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	cases := map[string]Policy{
		"full":             full(),
		"floor only":       {Schema: Schema, Profile: "floor", Floor: "7.1-rc2"},
		"modules only":     {Schema: Schema, Profile: "m", Modules: full().Modules},
		"no reason":        {Schema: Schema, Profile: "m", Modules: []Module{{Name: "esp4", RefuseIf: []Condition{BuiltIn}}}},
		"thousand of them": {Schema: Schema, Profile: "m", Modules: manyModules(1000)},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			data, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(data)
			if err != nil {
				t.Fatalf("Decode: %v\n%.2000s", err, data)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Decode gives %+v, want %+v", got, want)
			}
		})
	}
}

func manyModules(n int) []Module {
	m := make([]Module, n)
	for i := range m {
		m[i] = Module{Name: fmt.Sprintf("module_%d", i), RefuseIf: []Condition{Loaded, BuiltIn}, Reason: "CVE-2026-31431"}
	}
	return m
}

func TestCutAtEveryLength(t *testing.T) {
	data := []byte(golden)
	for n := range data {
		if p, err := Decode(data[:n]); err == nil {
			t.Fatalf("Decode of the first %d of %d bytes gives %+v, want an error", n, len(data), p)
		}
	}
}

func TestFlipEveryBit(t *testing.T) {
	for i := range len(golden) {
		for bit := range 8 {
			data := []byte(golden)
			data[i] ^= 1 << bit
			if p, err := Decode(data); err == nil {
				t.Fatalf("Decode with bit %d of byte %d flipped gives %+v, want an error", bit, i, p)
			}
		}
	}
}

func TestDoubledAndAppended(t *testing.T) {
	for name, data := range map[string]string{
		"file twice":         golden + golden,
		"newline more":       golden + "\n",
		"text after the end": golden + "floor = \"1.0\"\n",
		"text before":        "floor = \"1.0\"\n" + golden,
		"CRLF":               strings.ReplaceAll(golden, "\n", "\r\n"),
	} {
		if p, err := Decode([]byte(data)); err == nil {
			t.Errorf("%s: Decode gives %+v, want an error", name, p)
		}
	}
}

// body is a policy without its end line, for the refusals below to damage.
const body = `schema = 1
profile = "llm-node"
floor = "7.0.6"

[[module]]
name = "algif_aead"
refuse_if = ["loaded", "builtin"]
reason = "CVE-2026-31431"
`

// TestModuleNamesMayHoldCapitals: the kernel's own xt_TEE does.
func TestModuleNamesMayHoldCapitals(t *testing.T) {
	want := Policy{Schema: Schema, Profile: "p", Modules: []Module{{Name: "xt_TEE", RefuseIf: []Condition{Loaded}, Reason: "r"}}}
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil || got.Modules[0].Name != "xt_TEE" {
		t.Errorf("Decode gives %v, %v, want the module xt_TEE", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	if _, err := Decode(seal(body)); err != nil {
		t.Fatalf("the undamaged policy: %v", err)
	}
	cases := []struct{ name, old, new, want string }{
		{"newer schema", "schema = 1", "schema = 2", "it has schema 2, and this initcheck reads schema 1: update /usr/sbin/initcheck"},
		{"newer schema, other layout", "schema = 1", "schema = 2\nrules = { a = [[1]] }", "update /usr/sbin/initcheck"},
		{"schema zero", "schema = 1", "schema = 0", "schema is 0, want a number of 1 or more"},
		{"schema a word", "schema = 1", `schema = "one"`, `schema is "one"`},
		{"schema missing", "schema = 1\n", "", "schema is missing"},
		{"schema after a table", "schema = 1\nprofile", "[[module]]\nschema = 1\nprofile", "schema is missing"},
		{"schema twice", "schema = 1", "schema = 1\nschema = 1", "key schema is there twice"},
		{"profile missing", "profile = \"llm-node\"\n", "", "profile is missing"},
		{"profile with an escape sequence", "llm-node", `llm\u001b[2J`, "printable text"},
		{"profile too long", "llm-node", strings.Repeat("x", 257), "at most 256 bytes"},
		{"digest malformed", "floor", "profile_digest = \"sha256:12\"\nfloor", "profile_digest is"},
		{"floor a number", `"7.0.6"`, "7.0", "line 3: floor is 7.0, want text in double quotes"},
		{"floor unparsable", `"7.0.6"`, `"latest"`, `floor: kernel release "latest"`},
		{"floor of a distribution", `"7.0.6"`, `"7.0.0-22-generic"`, "is no part of an upstream release"},
		{"unknown key", "floor =", "florr =", "key florr is unknown"},
		{"key in capitals", "floor =", "FLOOR =", "line 3"},
		{"unknown key in module", "reason =", "resaon =", "key module.resaon is unknown"},
		{"key twice", "floor", "floor = \"1.0\"\nfloor", "key floor is there twice"},
		{"module name with a dash", "algif_aead", "algif-aead", "want 1 to 64 of a-z, A-Z, 0-9 and _"},
		{"module name with a blank", "algif_aead", "algif aead", "want 1 to 64 of a-z, A-Z, 0-9 and _"},
		{"module name empty", "algif_aead", "", "want 1 to 64"},
		{"module name too long", "algif_aead", strings.Repeat("a", 65), "want 1 to 64"},
		{"module name missing", "name = \"algif_aead\"\n", "", "want 1 to 64"},
		{"module twice", "[[module]]", "[[module]]\nname = \"algif_aead\"\nrefuse_if = [\"loaded\"]\n[[module]]", "it stands there twice"},
		{"refuse_if empty", `["loaded", "builtin"]`, "[]", "refuse_if is missing or empty"},
		{"refuse_if missing", "refuse_if = [\"loaded\", \"builtin\"]\n", "", "refuse_if is missing or empty"},
		{"refuse_if unknown", `"builtin"`, `"present"`, `refuse_if has "present"`},
		{"refuse_if twice the same", `"builtin"`, `"loaded"`, `refuse_if has "loaded" twice`},
		{"refuse_if a string", `["loaded", "builtin"]`, `"loaded"`, "refuse_if"},
		{"reason with a newline", "CVE-2026-31431", `a\nb`, "printable text"},
		{"nothing to decide", body, "schema = 1\nprofile = \"p\"\n", "decides nothing"},
		{"floor empty", body, "schema = 1\nprofile = \"p\"\nfloor = \"\"\n", "decides nothing"},
		{"floor empty beside a module", `"7.0.6"`, `""`, "floor is empty"},
		{"single table", "[[module]]", "[module]", "line 5"},
		{"dotted key", "floor =", "module.a =", "line 3"},
		{"quoted key", "floor =", `"floor" =`, "line 3"},
		{"inline table", `"7.0.6"`, `{ a = 1 }`, "line 3"},
		{"nested array", `["loaded", "builtin"]`, `[["loaded"]]`, "line 7"},
		{"array over two lines", `"loaded", "builtin"`, "\"loaded\",\n\"builtin\"", "line 7"},
		{"long string", `"7.0.6"`, "\"\"\"7.0.6\"\"\"", "line 3"},
		{"text after a value", `"7.0.6"`, `"7.0.6" x`, "line 3"},
		{"escape", "CVE-2026-31431", `\t`, "has an escape"},
		{"string without an end", `"7.0.6"`, `"7.0.6`, "want text in double quotes"},
		{"escape at the end", `"7.0.6"`, `"7.0.6\`, "has an escape"},
		{"list without an end", `"builtin"]`, `"builtin"`, "want a comma and a blank, or the end of the list"},
		{"list with a comma at the end", `"builtin"]`, `"builtin", ]`, "want text in double quotes"},
		{"list without commas", `"loaded", "builtin"`, `"loaded" "builtin"`, "want a comma"},
		{"text behind a list", `"builtin"]`, `"builtin"] x`, "has"},
		{"accept_fixed without advisories", "floor =", "accept_fixed = true\nfloor =", "are about advisories, and it has none"},
		{"accept_fixed a word", "floor =", "accept_fixed = yes\nfloor =", "accept_fixed is yes, want true or false"},
		{"unknown senseless", "floor =", "unknown = \"maybe\"\nfloor =", `unknown is "maybe"`},
		{"stale senseless", "floor =", "stale = \"maybe\"\nfloor =", `stale is "maybe"`},
		{"max_age a word", "floor =", "max_age = x\nfloor =", "max_age is x, want a number of days"},
		{"max_age negative", "floor =", "max_age = -1\nfloor =", "max_age is -1"},
		{"override a word", "floor =", "override = yes\nfloor =", "override is yes, want true or false"},
		{"override twice", "floor =", "override = true\noverride = true\nfloor =", "key override is there twice"},
		{"override in a module", "reason =", "override = true\nreason =", "key module.override is unknown"},
		{"initcalls a text", "reason =", "initcalls = \"a_init\"\nreason =", "module.initcalls is"},
		{"initcall empty", "reason =", "initcalls = [\"\"]\nreason =", "initcalls has \"\""},
		{"initcall with a comma", "reason =", "initcalls = [\"a_init,b_init\"]\nreason =", "initcalls has"},
		{"initcall too long", "reason =", "initcalls = [\"" + strings.Repeat("a", 129) + "\"]\nreason =", "want 1 to 128"},
		{"initcall twice", "reason =", "initcalls = [\"a_init\", \"a_init\"]\nreason =", "initcalls has \"a_init\" twice"},
		{"initcalls too many", "reason =", "initcalls = [" + strings.Repeat("\"a\", ", 8) + "\"a\"]\nreason =", "initcalls has 9 names"},
		{"bytes that are no text", "CVE-2026", "CVE-\xff\xfe", "UTF-8"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			damaged := strings.Replace(body, c.old, c.new, 1)
			if damaged == body {
				t.Fatalf("the case changes nothing: %q is not in the policy", c.old)
			}
			p, err := Decode(seal(damaged))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Decode gives %+v, %v, want an error with %q", p, err, c.want)
			}
			if !reflect.DeepEqual(p, Policy{}) {
				t.Errorf("Decode gives %+v beside its error, want the zero value", p)
			}
		})
	}
}

func TestFaultsAreJoined(t *testing.T) {
	bad := strings.NewReplacer(`"7.0.6"`, `"latest"`, "algif_aead", "algif-aead", `"builtin"`, `"present"`, "profile =", "profil =").Replace(body)
	_, err := Decode(seal(bad))
	if err == nil {
		t.Fatal("Decode gives no error")
	}
	for _, want := range []string{"key profil is unknown", "profile is missing", "latest", "algif-aead", "present"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, err := Decode(seal("schema = 1\nprofile = \"p\"\n" + strings.Repeat("[[module]]\n", 1000)))
	if err == nil || !strings.Contains(err.Error(), "more") {
		t.Fatalf("Decode gives %v, want a bounded list of faults", err)
	}
	if n := strings.Count(err.Error(), "\n"); n > maxFaults {
		t.Errorf("error has %d lines, want at most %d", n+1, maxFaults+1)
	}
}

// TestHostileLayout feeds what makes the TOML parser need memory in the square of
// its input. Each must be refused before it gets there.
func TestHostileLayout(t *testing.T) {
	const room = Limit - 1000
	for name, hostile := range map[string]string{
		"open arrays":            "floor = " + strings.Repeat("[", room),
		"nested arrays":          "floor = " + strings.Repeat("[", room/2) + strings.Repeat("]", room/2),
		"open tables":            "floor = " + strings.Repeat("{a = ", room/5),
		"tables over lines":      strings.Repeat("a = {\n", room/6),
		"tables in array":        "floor = [" + strings.Repeat("{a = ", room/5) + "]",
		"dotted key":             strings.Repeat("a.", room/2) + "a = 1",
		"dotted table":           "[" + strings.Repeat("a.", room/2) + "a]",
		"dotted key after comma": "floor = [" + strings.Repeat("a.", room/2) + "]",
		"empty modules":          strings.Repeat("[[module]]\n", room/11),
		"empty lines":            strings.Repeat("\n", room),
		"array of numbers":       "refuse_if = [" + strings.Repeat("1,", room/2) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if p, err := Decode(seal("schema = 1\n" + hostile + "\n")); err == nil {
				t.Errorf("Decode gives %+v, want an error", p)
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("Decode took %v, want well under a minute", d)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	_, err := Decode(bytes.Repeat([]byte{'#'}, Limit+1))
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("Decode of %d bytes gives %v, want an error about the size", Limit+1, err)
	}
	p := full()
	p.Modules = manyModules(20000)
	if _, err := Encode(p); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("Encode of 20000 modules gives %v, want an error about the size", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"no schema":         func(p *Policy) { p.Schema = 0 },
		"other schema":      func(p *Policy) { p.Schema = Schema + 1 },
		"no profile":        func(p *Policy) { p.Profile = "" },
		"bad floor":         func(p *Policy) { p.Floor = "new" },
		"decides nothing":   func(p *Policy) { p.Floor, p.Modules = "", nil },
		"bad module":        func(p *Policy) { p.Modules[0].Name = "a-b" },
		"newline in reason": func(p *Policy) { p.Modules[0].Reason = "a\nb" },
		"reason not UTF-8":  func(p *Policy) { p.Modules[0].Reason = "\xff" },
		"no condition":      func(p *Policy) { p.Modules[1].RefuseIf = nil },
		"condition unknown": func(p *Policy) { p.Modules[1].RefuseIf = []Condition{"gone"} },
		"same module again": func(p *Policy) { p.Modules[1].Name = p.Modules[0].Name },
	} {
		t.Run(name, func(t *testing.T) {
			p := full()
			change(&p)
			if data, err := Encode(p); err == nil {
				t.Errorf("Encode gives\n%s\nwant an error", data)
			}
		})
	}
}

// withAdvisories is a policy with everything that can be said of advisories.
func withAdvisories() Policy {
	p := full()
	p.AcceptFixed, p.AcceptMitigated, p.Override, p.Unknown, p.MaxAge, p.Stale = true, true, true, Pass, 180, advisory.StaleWarn
	p.Modules[0].Initcalls = []string{"algif_aead_init", "aead_late_init"}
	p.Advisories = []advisory.Advisory{
		{CVE: "CVE-2026-31431", Date: "2026-08-21", Source: `kernel "CNA" \ ä`, Modules: []string{"algif_aead"},
			Introduced: []kver.Release{{Major: 4, Minor: 14}}, Fixed: []kver.Release{{Major: 6, Minor: 12, Patch: 85}, {Major: 7, Candidate: true, RC: 7}},
			Rows: []advisory.Row{
				{Distribution: "debian", Stream: "6.12", State: advisory.RowFixed, Version: "6.12.85-1", Source: "DSA-6238-1"},
				{Distribution: "amzn", Stream: "amzn2023 6.12", State: advisory.RowSeen, Version: "6.12.80-106.156.amzn2023", Open: "6.12.79-101.147.amzn2023", Source: "AWS"},
				{Distribution: "rhel", Stream: "el7", State: advisory.RowUnaffected, Source: "Red Hat"},
			}},
		{CVE: "CVE-2026-46300", Date: "2026-08-21", Source: "kernel CNA", Introduced: []kver.Release{{Major: 3, Minor: 9}}, Fixed: []kver.Release{{Major: 7, Minor: 1}}},
	}
	return p
}

const goldenAdvisories = `accept_fixed = true
accept_mitigated = true
override = true
unknown = "pass"
max_age = 180
stale = "warn"

[[module]]
name = "algif_aead"
refuse_if = ["loaded", "builtin"]
reason = "CVE-2026-31431"
initcalls = ["algif_aead_init", "aead_late_init"]

[[module]]
name = "rxrpc"
refuse_if = ["loaded"]
reason = "CVE-2026-43500, \"Dirty Frag\" [{'ä'}] # \\ ="

[[advisory]]
cve = "CVE-2026-31431"
date = "2026-08-21"
source = "kernel \"CNA\" \\ ä"
modules = ["algif_aead"]
introduced = ["4.14"]
fixed = ["6.12.85", "7.0-rc7"]
rows = ["debian; 6.12; fixed; 6.12.85-1; ; DSA-6238-1", "amzn; amzn2023 6.12; seen; 6.12.80-106.156.amzn2023; 6.12.79-101.147.amzn2023; AWS", "rhel; el7; unaffected; ; ; Red Hat"]

[[advisory]]
cve = "CVE-2026-46300"
date = "2026-08-21"
source = "kernel CNA"
introduced = ["3.9"]
fixed = ["7.1"]
# end sha256=`

func TestAdvisoriesReadBack(t *testing.T) {
	data, err := Encode(withAdvisories())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), goldenAdvisories) {
		t.Errorf("Encode gives\n%s\nwant in it\n%s", data, goldenAdvisories)
	}
	got, err := Decode(data)
	if err != nil || !reflect.DeepEqual(got, withAdvisories()) {
		t.Errorf("Decode gives %+v, %v, want %+v", got, err, withAdvisories())
	}
}

func TestAdvisoriesRefused(t *testing.T) {
	whole, err := Encode(withAdvisories())
	if err != nil {
		t.Fatal(err)
	}
	sealed := string(whole[:bytes.LastIndex(whole, []byte(endPrefix))])
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "date =", "dote =", "key advisory.dote is unknown"},
		{"key twice", "date =", "cve = \"x\"\ndate =", "key advisory.cve is there twice"},
		{"same CVE twice", "CVE-2026-46300", "CVE-2026-31431", "it stands there twice"},
		{"release senseless", `"7.0-rc7"`, `"7.0-rc"`, "advisory.fixed has an element that does not read"},
		{"row too short", "; DSA-6238-1", "", "has 5 fields, want 6"},
		{"row state", "; fixed; ", "; mended; ", "state is"},
		{"fixed missing", `fixed = ["7.1"]`, "", "fixed has 0 releases"},
		{"fixed a text", `fixed = ["7.1"]`, `fixed = "7.1"`, "want a list of texts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			damaged := strings.Replace(sealed, c.old, c.new, 1)
			if damaged == sealed {
				t.Fatalf("the case changes nothing: %q is not in the policy", c.old)
			}
			if p, err := Decode(seal(damaged)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Decode gives %+v, %v, want an error with %q", p, err, c.want)
			}
		})
	}
}

// TestFileIsTOML asks a TOML library what the file says.
func TestFileIsTOML(t *testing.T) {
	want := withAdvisories()
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema, Max_age                                int
		Profile, Profile_digest, Floor, Unknown, Stale string
		Accept_fixed, Accept_mitigated, Override       bool
		Module                                         []struct {
			Name, Reason string
			Refuse_if    []string
			Initcalls    []string
		}
		Advisory []struct {
			Cve, Date, Source                string
			Modules, Introduced, Fixed, Rows []string
		}
	}
	meta, err := toml.Decode(string(data), &got)
	if err != nil || len(meta.Undecoded()) > 0 {
		t.Fatalf("toml: %v, keys not taken: %v", err, meta.Undecoded())
	}
	if got.Schema != want.Schema || got.Profile != want.Profile || got.Profile_digest != want.Digest || got.Floor != want.Floor || got.Max_age != want.MaxAge ||
		got.Unknown != string(want.Unknown) || got.Stale != string(want.Stale) || !got.Accept_fixed || !got.Accept_mitigated || !got.Override || len(got.Module) != 2 || len(got.Advisory) != 2 {
		t.Errorf("toml reads %+v, want %+v", got, want)
	}
	for i, m := range got.Module {
		if m.Name != want.Modules[i].Name || m.Reason != want.Modules[i].Reason || len(m.Refuse_if) != len(want.Modules[i].RefuseIf) || !slices.Equal(m.Initcalls, want.Modules[i].Initcalls) {
			t.Errorf("toml reads module %+v, want %+v", m, want.Modules[i])
		}
	}
	for i, a := range got.Advisory {
		w := want.Advisories[i]
		if a.Cve != w.CVE || a.Source != w.Source || !slices.Equal(a.Modules, w.Modules) || !slices.Equal(a.Fixed, texts(w.Fixed, kver.Release.String)) || !slices.Equal(a.Rows, texts(w.Rows, advisory.Row.String)) {
			t.Errorf("toml reads advisory %+v, want %+v", a, w)
		}
	}
}

func FuzzDecode(f *testing.F) {
	all, err := Encode(withAdvisories())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(all[:bytes.LastIndex(all, []byte(endPrefix))]), strings.TrimSuffix(golden[:strings.LastIndex(golden, endPrefix)], "\n") + "\n", body} {
		if _, err := Decode(seal(seed)); err != nil {
			f.Fatalf("seed: %v", err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := Decode([]byte(text)); err == nil && !strings.Contains(text, endPrefix) {
			t.Fatalf("Decode without an end line gives %+v", p)
		}
		p, err := Decode(seal(text))
		if err != nil {
			return
		}
		data, err := Encode(p)
		if err != nil {
			t.Fatalf("Decode takes what Encode refuses: %v\n%s", err, text)
		}
		again, err := Decode(data)
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("after Encode and Decode: %+v, %v, want %+v", again, err, p)
		}
	})
}

func TestErrorsSayCannot(t *testing.T) {
	_, err := Decode(nil)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot decode policy: ") {
		t.Errorf("Decode(nil) gives %v, want it to start with what could not be done", err)
	}
	if errors.Unwrap(err) == nil {
		t.Error("the cause is not wrapped")
	}
}
