package probe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/initcheck"
)

// maxValue is the longest value of a string parameter; the kernel ignores a longer one
// (param_set_charp in kernel/params.c).
const maxValue = 1024

// argument is one argument of the kernel's part of the command line that has a value.
type argument struct{ name, value string }

// is knows that the kernel takes dashes for underscores in names of parameters (parameq in
// kernel/params.c).
func (a argument) is(name string) bool { return strings.ReplaceAll(a.name, "-", "_") == name }

// arguments reads /proc/cmdline, and splits it as the kernel does: next_arg in lib/cmdline.c,
// and parse_args in kernel/params.c, which leaves what is behind a lone "--" to init.
func arguments(root fs.FS) ([]argument, error) {
	text, err := ReadFile(root, "proc/cmdline", maxLine)
	if err != nil {
		return nil, cause(err)
	}
	var out []argument
	word, rest := cutWord(strings.TrimSuffix(string(text), "\n"))
	for ; word != "" && word != "--" && word != `"--"`; word, rest = cutWord(rest) {
		if a, found := splitWord(word); found {
			out = append(out, a)
		}
	}
	return out, nil
}

// cutWord takes the first word off, in which blanks may stand between quotes.
func cutWord(s string) (word, rest string) {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	end := 0
	for quoted := false; end < len(s) && (quoted || !isBlank(s[end])); end++ {
		quoted = quoted != (s[end] == '"')
	}
	return s[:end], s[end:]
}

// splitWord takes the quotes away that stand around a word, or around its value; others are
// part of it.
func splitWord(word string) (argument, bool) {
	inner, quoted := strings.CutPrefix(word, `"`)
	// An equals sign at the very start is part of the name.
	equals := strings.Index(inner[min(1, len(inner)):], "=") + 1
	if equals < 1 {
		return argument{}, false
	}
	name, value := inner[:equals], inner[equals+1:]
	if bare, ofValue := strings.CutPrefix(value, `"`); ofValue || quoted {
		value = strings.TrimSuffix(bare, `"`)
	}
	return argument{name, value}, true
}

// isBlank is the kernel's isspace (lib/ctype.c), to which the byte 0xa0 is a blank.
func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

// denied reads module_blacklist= from the command line (kernel/module/main.c): names as they
// are, so that one with a dash denies nothing; of two the last counts.
func denied(root fs.FS) initcheck.Set {
	args, err := arguments(root)
	if err != nil {
		return initcheck.Unread("/proc/cmdline", err)
	}
	var names []string
	for _, a := range args {
		if a.is("module_blacklist") && len(a.value) <= maxValue {
			names = strings.Split(a.value, ",")
		}
	}
	return initcheck.NewSet("/proc/cmdline", exact(names)...)
}

// exact leaves out names that match nothing of the kernel's, but would in a [initcheck.Set].
func exact(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return strings.Contains(n, "-") })
}

// ReadInitcalls tells of functions that start built-in modules which of them the kernel has,
// and what initcall_blacklist= on the command line keeps it from calling (init/main.c): exact
// names, of all such arguments.
func ReadInitcalls(root fs.FS, functions []string) initcheck.Initcalls {
	out := initcheck.Initcalls{Known: symbols(root, functions)}
	args, err := arguments(root)
	if err != nil {
		out.Skipped = initcheck.Unread("/proc/cmdline", err)
		return out
	}
	var names []string
	for _, a := range args {
		if a.is("initcall_blacklist") {
			names = append(names, strings.Split(a.value, ",")...)
		}
	}
	out.Skipped = initcheck.NewSet("/proc/cmdline", exact(names)...)
	return out
}

// maxSymbols bounds /proc/kallsyms, which has some 10 MB.
const maxSymbols = 256 << 20

// stubPrefix opens the names of the functions that a kernel built with link-time optimisation
// by Clang calls in place of its initcalls (__initcall_stub in include/linux/init.h). They
// alone are what its initcall_blacklist= compares with; what they call runs all the same.
const stubPrefix = "__initstub__"

// symbols looks in /proc/kallsyms (kernel/kallsyms.c) for functions of the kernel itself. A
// kernel without the file knows no functions by name, and its initcall_blacklist= does
// nothing. It is read to its end, since a stub may be the last.
func symbols(root fs.FS, functions []string) initcheck.Set {
	const name = "proc/kallsyms"
	f, err := root.Open(name)
	if err != nil {
		return initcheck.Unread("/"+name, cause(err))
	}
	defer f.Close()
	var found []string
	lines := bufio.NewScanner(io.LimitReader(f, maxSymbols))
	for lines.Scan() {
		// "ffffffff83a0b1c0 t algif_aead_init"; what is of a module has its name behind.
		_, symbol, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		_, symbol, _ = bytes.Cut(symbol, []byte(" "))
		if bytes.HasPrefix(symbol, []byte(stubPrefix)) {
			return initcheck.Unread("/"+name, fmt.Errorf("the kernel calls %.80s and other stubs, which have other names (CONFIG_LTO_CLANG)", symbol))
		}
		if i := slices.IndexFunc(functions, func(f string) bool { return f == string(symbol) }); i >= 0 {
			found = append(found, functions[i])
		}
	}
	if err := lines.Err(); err != nil {
		return initcheck.Unread("/"+name, cause(err))
	}
	return initcheck.NewSet("/"+name, found...)
}

// overrideParameter is the break-glass. The kernel passes a parameter with a dot by.
const overrideParameter = "initcheck.override"

// ReadOverride gives the reason of initcheck.override= on the command line, and whether it
// is there; of two the last counts.
func ReadOverride(root fs.FS) (reason string, given bool, err error) {
	args, err := arguments(root)
	if err != nil {
		return "", false, fmt.Errorf("cannot read /proc/cmdline: %w", err)
	}
	for _, a := range args {
		if a.is(overrideParameter) {
			reason, given = strings.TrimSpace(a.value), true
		}
	}
	return reason, given, nil
}
