package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// maxConfig bounds a kernel's configuration; those of distributions have some 300 kB.
const maxConfig = 4 << 20

// Config is what a kernel was built with: the lines CONFIG_SYMBOL=VALUE of a .config
// (Documentation/kbuild/kconfig.rst). The zero value is one that was not found.
type Config struct {
	Path string // literal, empty where the tree has none
	// Signature is what /proc/version_signature of the running kernel says: Ubuntu's name
	// of the build, and the upstream release in it. Empty for others.
	Signature string

	built map[string]bool // symbols that are y or m, without CONFIG_
}

// Config reads the kernel's configuration from where distributions put it, beside the
// image or beside the modules. One that is not there is the zero value.
func (k Kernel) Config(t rootfs.Tree) (Config, error) {
	for _, name := range []string{"/boot/config-" + k.Release, k.Modules + "/config"} {
		literal, err := rootfs.Resolve(t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Config{}, err
		}
		data, err := rootfs.ReadFile(t, literal, maxConfig)
		if err != nil {
			return Config{}, err
		}
		c := Config{Path: literal, Signature: signature(data), built: builtSymbols(data)}
		if len(c.built) == 0 {
			return Config{}, fmt.Errorf("%s: no line sets a symbol to y or m", literal)
		}
		return c, nil
	}
	return Config{}, nil
}

func builtSymbols(data []byte) map[string]bool {
	out := map[string]bool{}
	for line := range bytes.Lines(data) {
		line, ours := bytes.CutPrefix(bytes.TrimSpace(line), []byte("CONFIG_"))
		symbol, value, set := bytes.Cut(line, []byte("="))
		if ours && set && (string(value) == "y" || string(value) == "m") {
			out[string(symbol)] = true
		}
	}
	return out
}

// signature is the value of CONFIG_VERSION_SIGNATURE, which fs/proc of Ubuntu's kernels
// prints. One that would garble a terminal is none.
func signature(data []byte) string {
	for line := range bytes.Lines(data) {
		value, ours := bytes.CutPrefix(bytes.TrimSpace(line), []byte("CONFIG_VERSION_SIGNATURE="))
		if text := string(bytes.Trim(value, `"`)); ours && isPrintable(text) && len(text) <= maxBanner {
			return text
		}
	}
	return ""
}

// Has says whether the configuration sets a symbol, written without CONFIG_, to y or m.
func (c Config) Has(symbol string) bool { return c.built[symbol] }

// SkipsInitcalls says whether initcall_blacklist= keeps the kernel from calling what it names,
// as far as the configuration tells: it needs names (init/main.c), and those that are called
// (include/linux/init.h, where Clang's link-time optimisation puts stubs before them).
func (c Config) SkipsInitcalls() bool {
	return c.Path == "" || c.Has("KALLSYMS") && !c.Has("LTO_CLANG")
}

// StateBy is [Kernel.State], and for a module that is absent looks at why: a configuration
// that does not set the symbol that builds it has it not built. A symbol that the file does
// not name is not set: Kconfig leaves out those whose dependencies are not met.
func (k Kernel) StateBy(c Config, module, symbol string) State {
	state := k.State(module)
	if state == Absent && c.Path != "" && symbol != "" && !c.built[symbol] {
		return NotBuilt
	}
	return state
}
