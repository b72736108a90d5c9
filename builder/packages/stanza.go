package packages

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// present are dpkg's states in which a package's files are in the tree: dpkg(1),
// "Package states".
var present = map[string]bool{
	"installed": true, "unpacked": true, "half-configured": true, "half-installed": true,
	"triggers-awaited": true, "triggers-pending": true,
}

// dpkg parses stanzas of deb-control(5). Where withoutStatus is set, a stanza without a
// Status field is an installed package.
func (l *lister) dpkg(withoutStatus bool) func(string, io.Reader) error {
	return func(name string, r io.Reader) error {
		return stanzas(r, dpkgField, func(fields map[string]string) error {
			words := strings.Fields(fields["status"])
			switch {
			case len(words) == 0 && !withoutStatus:
				return nil
			case len(words) > 0 && (len(words) != 3 || !present[words[2]]):
				return nil
			}
			return l.add(Package{Name: fields["package"], Version: fields["version"], Arch: fields["architecture"], Database: name})
		})
	}
}

// apk parses the database of apk-tools.
func (l *lister) apk(name string, r io.Reader) error {
	return stanzas(r, apkField, func(fields map[string]string) error {
		return l.add(Package{Name: fields["P"], Version: fields["V"], Arch: fields["A"], Database: name})
	})
}

// dpkgField gives the key in lower case, since field names have no case, or nothing for
// what we do not need.
func dpkgField(line string) (key, value string) {
	key, value, _ = strings.Cut(line, ":")
	switch key = strings.ToLower(key); key {
	case "package", "version", "architecture", "status":
		return key, strings.TrimSpace(value)
	}
	return "", ""
}

func apkField(line string) (key, value string) {
	key, value, _ = strings.Cut(line, ":")
	switch key {
	case "P", "V", "A":
		return key, value
	}
	return "", ""
}

// stanzas calls take with the fields of each block of lines that blank lines separate.
// A line that continues another begins with a space and has no key.
func stanzas(r io.Reader, field func(string) (key, value string), take func(map[string]string) error) error {
	lines := bufio.NewReaderSize(r, maxField)
	fields, inside := map[string]string{}, false
	for number := 1; ; number++ {
		line, whole, err := readLine(lines)
		atEnd := errors.Is(err, io.EOF)
		if err != nil && !atEnd {
			return err
		}
		blank := strings.TrimRight(line, " \t\r") == ""
		if key, value := field(line); !blank && key != "" {
			if _, twice := fields[key]; twice || !whole {
				return fmt.Errorf("line %d: field %q stands twice in its stanza or is longer than %d bytes", number, key, maxField)
			}
			fields[key] = value
		}
		inside = inside || !blank
		if (blank || atEnd) && inside {
			if err := take(fields); err != nil {
				return fmt.Errorf("stanza that ends in line %d: %w", number, err)
			}
			fields, inside = map[string]string{}, false
		}
		if atEnd {
			return nil
		}
	}
}

// readLine gives a line without its newline, or only its front if it is not whole
// within the buffer. With io.EOF comes what follows the last newline.
func readLine(r *bufio.Reader) (line string, whole bool, err error) {
	front, more, err := r.ReadLine()
	line, whole = string(front), !more
	for more && err == nil {
		_, more, err = r.ReadLine()
	}
	return line, whole, err
}
