package modprobe

import (
	"slices"
	"strings"
)

// cmdlineFile is what lines that stand for arguments give as their file.
const cmdlineFile = "/proc/cmdline"

// WithCommandLine gives the configuration that kmod has on a kernel with this
// command line: modprobe.blacklist=a,b adds to the blacklist, and module.param=value
// to the options of a module. The names in modprobe.blacklist= stay as they are: one
// with a dash matches nothing. It follows kmod_config_parse_kcmdline.
func (c *Config) WithCommandLine(args string) *Config {
	out := *c
	out.commandLine = slices.Clone(c.commandLine)
	for _, a := range kmodArguments(args) {
		if list, found := strings.CutPrefix(a.text, "blacklist="); found && a.module == "modprobe" {
			for name := range strings.SplitSeq(list, ",") {
				out.commandLine = append(out.commandLine, Line{File: cmdlineFile, Words: []string{"blacklist", name}})
			}
			continue
		}
		if name, valid := underscores(a.module); valid {
			out.commandLine = append(out.commandLine, Line{File: cmdlineFile, Words: []string{"options", name, a.text}, Text: a.text})
		}
	}
	return &out
}

// argument is one module.text of a command line.
type argument struct{ module, text string }

// kmodArguments finds what kmod takes for module parameters. Quotes may stand
// around a value or, as GRUB leaves them, around the whole argument.
func kmodArguments(args string) []argument {
	if len(args) > maxCommandLine-1 {
		args = args[:maxCommandLine-1]
	}
	args, _, _ = strings.Cut(args, "\x00")
	var out []argument
	for args != "" {
		var word string
		word, args = cutArgument(args)
		if a, ok := kmodArgument(word); ok {
			out = append(out, a)
		}
	}
	return out
}

// cutArgument cuts at the first blank that stands in no quoted value. A blank in
// quotes elsewhere spoils all up to the first blank behind the closing quote.
func cutArgument(s string) (word, rest string) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case isSpace(s[i]) && !quoted:
			return s[:i], s[i+1:]
		}
	}
	if quoted {
		return "", "" // it never ends, and so never counts
	}
	return s, ""
}

// kmodArgument parts one argument, or says that it is no module parameter.
func kmodArgument(word string) (argument, bool) {
	whole := strings.HasPrefix(word, `"`)
	word = strings.TrimPrefix(word, `"`)
	module, text, dotted := strings.Cut(word, ".")
	if !dotted || strings.ContainsAny(module, "=\"") || strings.ContainsFunc(module, isSpaceRune) {
		return argument{}, false
	}
	param, value, assigned := strings.Cut(text, "=")
	if strings.ContainsAny(param, ".\"") || strings.ContainsFunc(param, isSpaceRune) || !assigned && whole {
		return argument{}, false
	}
	if whole {
		text = param + `="` + value
	}
	return argument{module, text}, true
}

// isSpace is isspace(3) in the C locale.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isSpaceRune(r rune) bool { return r < 128 && isSpace(byte(r)) }

// KernelRefuses says whether a kernel with this command line refuses a module
// however it is asked to load it, and by which argument. Of several
// module_blacklist= the last one counts (module_blacklist in
// kernel/module/main.c), initcall_blacklist= adds up (init/main.c); both take
// exact names, so a dash never matches. Initcall is the name of the module's init
// function, empty if it is not known. The arguments behind "--" are not the kernel's.
func KernelRefuses(cmdline string, module, initcall string) (by string, refused bool) {
	last := ""
	for _, arg := range kernelArguments(cmdline) {
		key, value, assigned := strings.Cut(arg, "=")
		if !assigned {
			continue
		}
		// The kernel takes a dash in the name of an argument for an underscore.
		switch strings.ReplaceAll(key, "-", "_") {
		case "module_blacklist":
			if len(value) <= maxCharp {
				last = arg
			}
		case "initcall_blacklist":
			if initcall != "" && slices.Contains(strings.Split(value, ","), initcall) {
				return arg, true
			}
		}
	}
	_, value, _ := strings.Cut(last, "=")
	if last != "" && module != "" && slices.Contains(strings.Split(value, ","), module) {
		return last, true
	}
	return "", false
}

// maxCharp is the longest value that the kernel takes for a parameter that is a
// text (param_set_charp in kernel/params.c).
const maxCharp = 1024

// kernelArguments parts a command line as next_arg in lib/cmdline.c does, with the
// quotes around a value or around the whole argument taken off.
func kernelArguments(s string) []string {
	var out []string
	for {
		s = strings.TrimLeftFunc(s, isSpaceRune)
		if s == "" {
			return out
		}
		quoted, end := false, 0
		for ; end < len(s) && (quoted || !isSpace(s[end])); end++ {
			if s[end] == '"' {
				quoted = !quoted
			}
		}
		arg := s[:end]
		s = s[end:]
		if arg == "--" {
			return out
		}
		out = append(out, unquote(arg))
	}
}

func unquote(arg string) string {
	if whole, found := strings.CutPrefix(arg, `"`); found {
		return strings.TrimSuffix(whole, `"`)
	}
	key, value, _ := strings.Cut(arg, "=")
	if text, found := strings.CutPrefix(value, `"`); found {
		return key + "=" + strings.TrimSuffix(text, `"`)
	}
	return arg
}
