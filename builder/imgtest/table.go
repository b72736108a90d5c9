package imgtest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// tableMarks are what stands around the table that a program in the guest prints, by the
// table's name: builder/imgtest/loadpaths and gatematrix.
type tableMarks struct{ begin, failed, end string }

func marksOf(table string) tableMarks {
	return tableMarks{"@@BEGIN " + table, "@@ERROR " + table + " ", "@@END " + table}
}

// await waits until the table is printed. It finds it once.
func (k tableMarks) await(m *Machine, timeout time.Duration) (lines []string, end string, err error) {
	return m.Between("^"+k.begin, "^"+k.end, timeout)
}

// parse hands each line between the marks to add. The end mark has the number of lines,
// because a console can lose or break some.
func (k tableMarks) parse(lines []string, end string, add func(line string) error) error {
	for _, line := range lines {
		if why, failed := strings.CutPrefix(line, k.failed); failed {
			return errors.New("the program in the guest gave up: " + why)
		}
		if err := add(line); err != nil {
			return err
		}
	}
	if want := fmt.Sprintf("%s %d", k.end, len(lines)); end != want || len(lines) == 0 {
		return fmt.Errorf("table of %d lines ends with %q, want %q and some lines", len(lines), end, want)
	}
	return nil
}
