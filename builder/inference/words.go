package inference

import (
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/unitfile"
)

// execCommands gives the commands of a value of ExecStart=. Those of a oneshot service stand
// in one line, with a semicolon between them, each with its own prefixes.
func execCommands(value string) [][]string {
	var out [][]string
	words := unitfile.Words(value, maxWords)
	for len(words) > 0 {
		end := slices.Index(words, ";")
		if end < 0 {
			end = len(words)
		}
		if command := unprefixed(words[:end]); len(command) > 0 {
			out = append(out, command)
		}
		words = words[min(end+1, len(words)):]
	}
	return out
}

// unprefixed drops the special prefixes of an executable: systemd.service(5), "Special
// executable prefixes". With @ the second word is only what ps shows.
func unprefixed(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	program := strings.TrimLeft(words[0], "@-:+!|")
	rest := words[1:]
	if prefix := words[0][:len(words[0])-len(program)]; strings.Contains(prefix, "@") && len(rest) > 0 {
		rest = rest[1:]
	}
	return append([]string{program}, rest...)
}

// variables are what $NAME stands for.
type variables map[string]string

// set keeps a value; a longer one than any name of a program or image is cut.
func (v variables) set(name, value string) {
	if len(value) > maxValue {
		value = value[:maxValue]
	}
	if len(v) < maxWords {
		v[name] = value
	}
}

// expand puts values in for $NAME, ${NAME} and ${NAME:-VALUE}; a name without a value stays.
func (v variables) expand(word string) string {
	if !strings.Contains(word, "$") {
		return word
	}
	var out strings.Builder
	for i := 0; i < len(word) && out.Len() < maxValue; i++ {
		name, end := variableAt(word[i:])
		plain, fallback, _ := strings.Cut(name, ":-")
		value, known := v[plain]
		switch {
		case name == "":
			out.WriteByte(word[i])
			continue
		case known:
			out.WriteString(value)
		case fallback != "":
			out.WriteString(fallback)
		default:
			out.WriteString(word[i : i+end])
		}
		i += end - 1
	}
	return out.String()
}

// variableAt reads the reference to a variable at the beginning of text.
func variableAt(text string) (name string, end int) {
	if len(text) < 2 || text[0] != '$' {
		return "", 0
	}
	if text[1] == '{' {
		if close := strings.IndexByte(text, '}'); close > 0 {
			return text[2:close], close + 1
		}
		return "", 0
	}
	for end = 1; end < len(text) && isNameByte(text[end]); end++ {
	}
	return text[1:end], end
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
