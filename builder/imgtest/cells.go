package imgtest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Paths are the ways to have a module loaded, in the words that the prober (loadpaths)
// and kerngate verify --json share.
var Paths = []string{
	"autoload",           // root asks the kernel for a socket, a state or an action that needs the module
	"autoload-nobody",    // the same without a privilege
	"modprobe",           // modprobe NAME
	"modprobe-alias",     // modprobe -q -- ALIAS, for each alias; open if any of them is
	"modprobe-i",         // modprobe -i NAME, which goes past install lines
	"insmod",             // the file, and before it the files of what it needs
	"dependency",         // modprobe of another module that needs this one
	"modules-load",       // systemd-modules-load, from a file of its own
	"initramfs-modprobe", // modprobe NAME in the initramfs
	"initramfs-insmod",   // insmod of the files that the initramfs has
}

// Cell names one path to one module under one kernel.
type Cell struct {
	Kernel string `json:"kernel"` // its release
	Module string `json:"module"` // as in /proc/modules
	Path   string `json:"path"`   // one of Paths
}

func (c Cell) String() string { return c.Kernel + " " + c.Module + " " + c.Path }

func (c Cell) compare(d Cell) int {
	return cmp.Or(cmp.Compare(c.Kernel, d.Kernel), cmp.Compare(c.Module, d.Module),
		cmp.Compare(slices.Index(Paths, c.Path), slices.Index(Paths, d.Path)))
}

// Outcome is what becomes of a try.
type Outcome struct {
	Open   bool   // the module is loaded afterwards
	Detail string // how the try ended, or what closes the path
}

func (o Outcome) String() string { return strings.TrimSpace(o.state() + " " + o.Detail) }

func (o Outcome) state() string {
	if o.Open {
		return "open"
	}
	return "closed"
}

// Cells is a table of load paths.
type Cells map[Cell]Outcome

// add puts a cell into the table. The state is "open" or "closed".
func (cells Cells) add(cell Cell, state, detail string) error {
	if !slices.Contains(Paths, cell.Path) {
		return fmt.Errorf("%s: no such path", cell)
	}
	if state != "open" && state != "closed" {
		return fmt.Errorf("%s: state is %q, want open or closed", cell, state)
	}
	if had, twice := cells[cell]; twice {
		return fmt.Errorf("%s: twice, first %s", cell, had)
	}
	cells[cell] = Outcome{Open: state == "open", Detail: detail}
	return nil
}

// Open counts the open cells.
func (cells Cells) Open() int {
	n := 0
	for _, o := range cells {
		if o.Open {
			n++
		}
	}
	return n
}

// Sorted lists the cells by kernel and module, the paths in the order of [Paths].
func (cells Cells) Sorted() []Cell { return slices.SortedFunc(maps.Keys(cells), Cell.compare) }

// String is one line a cell.
func (cells Cells) String() string {
	var b strings.Builder
	for _, c := range cells.Sorted() {
		fmt.Fprintf(&b, "%s %s\n", c, cells[c])
	}
	return b.String()
}

// loadPaths is the table that the prober prints: loadpaths.
var loadPaths = marksOf("load-paths")

// LoadPaths waits until the prober has printed its table. It finds it once. Only an
// image with the prober in it prints one.
func (m *Machine) LoadPaths(timeout time.Duration) (Cells, error) {
	lines, end, err := loadPaths.await(m, timeout)
	if err != nil {
		return nil, err
	}
	return parseLoadPaths(lines, end)
}

// parseLoadPaths reads what stands between the marks, and the end mark.
func parseLoadPaths(lines []string, end string) (Cells, error) {
	cells := Cells{}
	err := loadPaths.parse(lines, end, func(line string) error {
		fields := strings.SplitN(line, " ", 5)
		if len(fields) < 4 {
			return fmt.Errorf("line of the prober is %q, want KERNEL MODULE PATH STATE DETAIL", line)
		}
		detail := strings.Join(fields[4:], " ")
		return cells.add(Cell{Kernel: fields[0], Module: fields[1], Path: fields[2]}, fields[3], detail)
	})
	if err != nil {
		return nil, err
	}
	return cells, nil
}

// ParsePrediction reads the table of load paths in the output of kerngate verify
// --json: {"load_paths": [{"kernel", "module", "path", "state": "open"|"closed",
// "by": what closes it}]}, beside keys that do not matter here.
func ParsePrediction(report []byte) (Cells, error) {
	var document struct {
		LoadPaths []struct {
			Cell
			State string `json:"state"`
			By    string `json:"by"`
		} `json:"load_paths"`
	}
	if err := json.Unmarshal(report, &document); err != nil {
		return nil, fmt.Errorf("cannot read the load paths of a verification: %w", err)
	}
	cells := Cells{}
	for _, p := range document.LoadPaths {
		if err := cells.add(p.Cell, p.State, p.By); err != nil {
			return nil, fmt.Errorf("cannot read the load paths of a verification: %w", err)
		}
	}
	if len(cells) == 0 {
		return nil, errors.New("verification has no load paths")
	}
	return cells, nil
}

// Comparison is how two tables stand to each other.
type Comparison struct {
	Agree       int      // cells that are the same in both
	Differences []string // in words, a line a cell
}

// CompareCells holds what was predicted against what was measured, cell by cell. Only
// kernels that were booted, and of what was measured only modules that the prediction
// speaks of, take part; of those, each cell must stand in both tables.
func CompareCells(predicted, measured Cells) Comparison {
	booted, spoken := map[string]bool{}, map[[2]string]bool{}
	for c := range measured {
		booted[c.Kernel] = true
	}
	for c := range predicted {
		spoken[[2]string{c.Kernel, c.Module}] = true
	}
	var result Comparison
	for _, c := range predicted.Sorted() {
		p := predicted[c]
		m, tried := measured[c]
		switch {
		case !booted[c.Kernel]:
		case !tried:
			result.Differences = append(result.Differences, fmt.Sprintf("%s: predicted %s, not measured", c, p))
		case p.Open != m.Open:
			result.Differences = append(result.Differences, fmt.Sprintf("%s: predicted %s, measured %s", c, p, m))
		default:
			result.Agree++
		}
	}
	for _, c := range measured.Sorted() {
		if _, told := predicted[c]; !told && spoken[[2]string{c.Kernel, c.Module}] {
			result.Differences = append(result.Differences, fmt.Sprintf("%s: not predicted, measured %s", c, measured[c]))
		}
	}
	return result
}
