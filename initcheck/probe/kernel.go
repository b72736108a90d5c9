package probe

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck"
)

// maxLine bounds files of few lines: os-release(5) of any distribution is below 2 KiB, and
// the kernel's own limit for the command line is 4 KiB.
const maxLine = 64 << 10

// ReadKernel gathers what tells who built the running kernel and what it can load. What
// cannot be read is unknown, and for a live patch it is one.
func ReadKernel(root fs.FS, release string, now time.Time) initcheck.KernelFacts {
	k := initcheck.KernelFacts{
		LivePatched: livePatched(root),
		Denied:      denied(root),
		Available:   available(root, release),
		Now:         now,
	}
	if text, err := ReadFile(root, "proc/version_signature", maxLine); err == nil {
		k.Signature = strings.TrimSpace(string(text))
	}
	k.ID, k.VersionID = osRelease(root)
	return k
}

// osRelease reads os-release(5): ID and VERSION_ID, with the quotes of a shell. Of a name that
// is there twice the last counts.
func osRelease(root fs.FS) (id, version string) {
	text, err := ReadFile(root, "etc/os-release", maxLine)
	if err != nil {
		text, err = ReadFile(root, "usr/lib/os-release", maxLine)
	}
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[0] == value[len(value)-1] {
			value = value[1 : len(value)-1]
		}
		switch name {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id, version
}

// livePatched tells whether the kernel runs a live patch
// (Documentation/ABI/testing/sysfs-kernel-livepatch).
func livePatched(root fs.FS) bool {
	names, err := dirNames(root, "sys/kernel/livepatch")
	return len(names) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// available lists the modules that modprobe knows of for this release.
func available(root fs.FS, release string) initcheck.Set {
	return ofRelease(root, release, "modules.dep", dependencyLine)
}

// dependencyLine reads "kernel/crypto/algif_aead.ko.xz: kernel/crypto/af_alg.ko.xz".
func dependencyLine(line string) (string, error) {
	file, _, found := strings.Cut(line, ":")
	name, _, isModule := strings.Cut(path.Base(file), ".ko")
	if !found || !isModule || !isName(name) {
		return "", errors.New("a module and what it depends on")
	}
	return name, nil
}
