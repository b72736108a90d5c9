package bootentry

import (
	"slices"
	"strings"
)

// Argument is one argument of a kernel command line.
type Argument struct {
	Name     string // as written
	Value    string // without the quotes around it
	HasValue bool   // there is an equals sign

	start, end int // the argument with its quotes
	valueEnd   int // where the value ends, before a closing quote
}

// Arguments splits a command line as the kernel does (next_arg in lib/cmdline.c and
// parse_args in kernel/params.c): up to a lone "--", after which all goes to init.
func Arguments(cmdline string) []Argument {
	args, _ := parseArgs(cmdline)
	return args
}

// line is what parseArgs finds out beside the arguments.
type line struct {
	dashes    int  // where "--" begins, -1 without it
	openQuote bool // the last argument's quote is never closed
}

func parseArgs(s string) ([]Argument, line) {
	found := line{dashes: -1}
	var out []Argument
	for i := skipBlanks(s, 0); i < len(s); i = skipBlanks(s, i) {
		arg, open := nextArg(s, i)
		if arg.Name == "--" && !arg.HasValue {
			found.dashes = i
			// What follows is not ours, but an open quote there ends nothing either.
			break
		}
		out = append(out, arg)
		found.openQuote = open
		i = arg.end
	}
	return out, found
}

// nextArg takes the argument at offset i. The rules are the kernel's, odd ones too: a
// quote may open anywhere, only one at the very start of argument or value goes, and
// then the one at the very end with it.
func nextArg(s string, i int) (arg Argument, open bool) {
	arg.start = i
	quoted := s[i] == '"'
	if quoted {
		i++
	}
	open = quoted
	begin, equals := i, -1
	for ; i < len(s) && (open || !isBlank(s[i])); i++ {
		// The kernel counts from 0 and takes 0 for none: an argument cannot begin
		// with its equals sign.
		if equals < 0 && s[i] == '=' && i > begin {
			equals = i
		}
		if s[i] == '"' {
			open = !open
		}
	}
	arg.end = i
	end := i
	closed := i > begin && s[i-1] == '"'
	if equals < 0 {
		if quoted && closed {
			end--
		}
		arg.Name, arg.valueEnd = s[begin:end], end
		return arg, open
	}
	arg.Name, arg.HasValue = s[begin:equals], true
	value := equals + 1
	switch {
	case value < i && s[value] == '"':
		// A value that is one quote alone is its own closing one.
		if value++; closed {
			end = max(end-1, value)
		}
	case quoted && closed:
		end--
	}
	arg.Value, arg.valueEnd = s[value:end], end
	return arg, open
}

// isBlank is the kernel's isspace (lib/ctype.c), where 0xa0 is one too.
func isBlank(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0 }

func skipBlanks(s string, i int) int {
	for i < len(s) && isBlank(s[i]) {
		i++
	}
	return i
}

// The two parameters we write.
const (
	moduleParam   = "module_blacklist"
	initcallParam = "initcall_blacklist"
)

// is says whether an argument is a parameter; in names of parameters, and only there,
// the kernel takes dashes for underscores (parameq in kernel/params.c).
func (a Argument) is(param string) bool {
	return a.HasValue && strings.ReplaceAll(a.Name, "-", "_") == param
}

// Effective says what a command line keeps out: modules by the last
// module_blacklist= (kernel/module/main.c), initcalls by all initcall_blacklist=
// (init/main.c). Names are exact: one with a dash is listed and stops nothing.
func Effective(cmdline string) (modules, initcalls []string) {
	for _, arg := range Arguments(cmdline) {
		switch {
		case arg.is(moduleParam) && len(arg.Value) <= maxString:
			modules = names(arg.Value)
		case arg.is(initcallParam):
			initcalls = append(initcalls, names(arg.Value)...)
		}
	}
	return modules, initcalls
}

func names(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })
}
