package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// header opens every policy file. It tells whoever finds the file what to do
// instead of editing it.
const header = `# Kernel policy of this machine, read at boot by initcheck.
# Written by kerngate. Do not edit: the checker refuses a changed file, and with it
# the inference units. To change the policy, edit the profile and run kerngate apply
# again.

`

// endPrefix opens the last line. Its digest covers all bytes before the line, so
// that a file cut short or changed is refused, never half read. It guards against
// accidents; who can write the file can also write the digest.
const endPrefix = "# end sha256="

// Encode writes p as a policy file. The same policy gives the same bytes. A policy
// that Decode would refuse is an error here.
func Encode(p Policy) ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("cannot encode policy: %w", err)
	}
	out := []byte(header + p.text())
	out = append(out, endLine(out)...)
	if len(out) > Limit {
		return nil, fmt.Errorf("cannot encode policy: it would be %d bytes, want at most %d", len(out), Limit)
	}
	return out, nil
}

// Decode reads a policy file. It takes only what Encode writes: the end line must
// match, every key must be known, and every rule must make sense. All faults of
// the content are reported together.
//
// The file is TOML, so that every tool can read it. This reader knows the small part of
// TOML that Encode uses; a TOML library is 150 KB of a checker of 3 MB.
func Decode(data []byte) (Policy, error) {
	p, err := decode(data)
	if err != nil {
		return Policy{}, fmt.Errorf("cannot decode policy: %w", err)
	}
	return p, nil
}

func decode(data []byte) (Policy, error) {
	if len(data) > Limit {
		return Policy{}, fmt.Errorf("it has %d bytes or more, want at most %d", len(data), Limit)
	}
	body, err := checkEnd(data)
	if err != nil {
		return Policy{}, err
	}
	lines := strings.Split(string(body), "\n")
	// The schema comes first: a file of a newer schema may look like nothing that
	// this build knows, and the message has to say so.
	if err := checkSchema(lines); err != nil {
		return Policy{}, err
	}
	if !utf8.Valid(body) {
		return Policy{}, errors.New("it is not text: it has bytes that are no UTF-8")
	}
	p, faults := parse(lines)
	if err := joined(append(faults, p.faults()...)); err != nil {
		return Policy{}, err
	}
	return p, nil
}

func endLine(body []byte) []byte {
	sum := sha256.Sum256(body)
	return []byte(endPrefix + hex.EncodeToString(sum[:]) + "\n")
}

// checkEnd returns what stands before the end line, once that line is right.
func checkEnd(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	if data[len(data)-1] != '\n' {
		return nil, errors.New("it does not end with a newline: it is cut short or was edited")
	}
	start := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	body, last := data[:start], data[start:]
	if !bytes.HasPrefix(last, []byte(endPrefix)) {
		return nil, fmt.Errorf("its last line is %.80q, want %s…: it is cut short or was edited", last, endPrefix)
	}
	if want := endLine(body); !bytes.Equal(last, want) {
		return nil, fmt.Errorf("its end line is %.100q, want %q: it was edited or is damaged", last, want)
	}
	return body, nil
}

// checkSchema reads the schema from the top of the file by hand.
func checkSchema(lines []string) error {
	for _, line := range lines {
		if strings.HasPrefix(line, "[") {
			break
		}
		value, found := strings.CutPrefix(line, "schema = ")
		if !found {
			continue
		}
		n, err := strconv.Atoi(value)
		switch {
		case err != nil || n < 1:
			return fmt.Errorf("schema is %.40s, want a number of 1 or more", value)
		case n > Schema:
			return fmt.Errorf("it has schema %d, and this initcheck reads schema %d: update %s with the kerngate that wrote the policy", n, Schema, Binary)
		case n < Schema:
			return fmt.Errorf("it has schema %d, and this initcheck reads schema %d: run kerngate apply again", n, Schema)
		}
		return nil
	}
	return errors.New("schema is missing")
}
