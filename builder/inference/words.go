package inference

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// splitWords splits a value as systemd does (extract_first_word with quotes and C escapes:
// systemd.service(5), "Command lines"). An unknown escape stays as it is; a quote that is
// not closed ends with the value.
func splitWords(value string) []string {
	var out []string
	var word strings.Builder
	var quote byte
	started := false
	for i := 0; i < len(value) && len(out) < maxWords; i++ {
		c := value[i]
		switch {
		case c == '\\' && i+1 < len(value):
			text, n := unescape(value[i+1:])
			word.WriteString(text)
			i += n
			started = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, started = c, true
		case quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0:
			if started {
				out = append(out, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started {
		out = append(out, word.String())
	}
	return out
}

// simpleEscapes are those of one letter: systemd.syntax(7), "Quoting".
var simpleEscapes = map[byte]string{
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
	'\\': `\`, '"': `"`, '\'': "'", 's': " ",
}

// unescape reads what stands behind a backslash and says how many bytes that was.
func unescape(rest string) (text string, n int) {
	if s, simple := simpleEscapes[rest[0]]; simple {
		return s, 1
	}
	digits, base := 0, 16
	switch rest[0] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case '0', '1', '2', '3', '4', '5', '6', '7':
		digits, base = 3, 8
	}
	from := 1
	if base == 8 {
		from = 0
	}
	if digits == 0 || len(rest) < from+digits {
		return `\` + rest[:1], 1
	}
	code, err := strconv.ParseUint(rest[from:from+digits], base, 32)
	switch {
	case err != nil || code == 0:
		return `\` + rest[:1], 1
	case (rest[0] == 'u' || rest[0] == 'U') && utf8.ValidRune(rune(code)):
		return string(rune(code)), from + digits
	case code < 256:
		return string([]byte{byte(code)}), from + digits
	}
	return `\` + rest[:1], 1
}

// execCommands gives the commands of a value of ExecStart=. Those of a oneshot service stand
// in one line, with a semicolon between them, each with its own prefixes.
func execCommands(value string) [][]string {
	var out [][]string
	words := splitWords(value)
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
