package unitfile

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Words splits a value as systemd does (extract_first_word with quotes and C escapes:
// systemd.service(5), "Command lines"). An unknown escape stays as it is; a quote that is
// not closed ends with the value. It gives at most limit words.
func Words(value string, limit int) []string {
	var out []string
	var word strings.Builder
	var quote byte
	started := false
	for i := 0; i < len(value) && len(out) < limit; i++ {
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

// Unescape replaces the C escapes in a text. An unknown escape stays as it is.
func Unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		plain, n := unescape(text[i+1:])
		out.WriteString(plain)
		i += n
	}
	return out.String()
}
