//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Where things are. All but the units lie on the root, because /run is what some
// states spoil.
const (
	home      = "/var/lib/gate-matrix"
	marks     = home + "/marks" // one file for each unit that ran, a line with its process for each run
	sockets   = home + "/sockets"
	userHome  = home + "/user"
	unitFiles = "/etc/systemd/system"
	lateUnit  = "llama-late.service"
	target    = "matrix-boot.target"
	userUnit  = "tgi.service"
	userOwner = 1 // daemon, who owns nothing else in the images
)

// standIn is what an inference server is here: it leaves a mark and stays.
const standIn = `ExecStart=/bin/sh -c 'echo $$$$ >>` + marks + `/%n; exec sleep infinity'
`

// systemUnits are laid down when the program starts, after the image was patched. The
// restarts are few and the triggers of a socket fewer, so that what goes round in
// circles ends soon.
var systemUnits = map[string]string{
	"vllm.service":      "[Service]\n" + standIn,
	"vllm@.service":     "[Service]\n" + standIn,
	"vllm-qwen.service": "[Service]\n" + standIn,
	"ollama.service":    "[Service]\n" + standIn,
	"triton.service":    "[Service]\n" + standIn,
	"local-ai.service":  "[Service]\n" + standIn,
	"lemond.service":    "[Service]\n" + standIn,
	"local-ai.socket":   socketUnit("local-ai"),
	"lemond.socket":     socketUnit("lemond"),

	"llama-server.service": "[Unit]\nStartLimitIntervalSec=300\nStartLimitBurst=3\n[Service]\nRestart=always\nRestartSec=100ms\n" + standIn,

	target: "[Unit]\nWants=initcheck.service vllm.service\n",

	"matrix-user.service": `[Service]
Type=notify
User=daemon
Delegate=yes
Environment=HOME=` + userHome + ` XDG_RUNTIME_DIR=` + userHome + `/run
ExecStart=/usr/lib/systemd/systemd --user --unit=basic.target
`,
}

func socketUnit(name string) string {
	return "[Socket]\nListenStream=" + sockets + "/" + name + "\nTriggerLimitIntervalSec=300\nTriggerLimitBurst=3\n"
}

// stopped are the units that are stopped between two rounds, as globs: those stand for
// what is loaded, and a name that is not would keep systemctl 262 from stopping any.
var (
	stoppedFirst = []string{"local-ai*.socket", "lemond*.socket"}
	stopped      = []string{
		"matrix-boot*.target", "vllm*.service", "ollama*.service", "triton*.service", "llama-*.service",
		"local-ai*.service", "lemond*.service", "initcheck*.service",
	}
)

// starters are the ways to start a stand-in, and the unit that shows it.
var starters = []struct {
	name, unit string
	runs       int // marks of the unit that mean that it was started this way
	first      bool
}{
	{"restart", "llama-server.service", 2, true},
	{"socket-listening", "local-ai.service", 1, true},
	{"wants", "vllm.service", 1, false},
	{"manual", "ollama.service", 1, false},
	{"template", "vllm@a.service", 1, false},
	{"prefix", "vllm-qwen.service", 1, false},
	{"late", lateUnit, 1, false},
	{"socket", "local-ai.service", 1, false},
	{"socket-ungated", "lemond.service", 1, false},
	{"ignore-dependencies", "triton.service", 1, false},
	{"user", userUnit, 1, false},
}

// standIns are the units of the starters that the system's manager runs.
func standIns() []string {
	var units []string
	for _, s := range starters {
		if s.unit != userUnit && !slices.Contains(units, s.unit) {
			units = append(units, s.unit)
		}
	}
	return units
}

// layDown writes the units and the directories that they need.
func layDown() error {
	userUnits := filepath.Join(userHome, ".config/systemd/user")
	for _, dir := range []string{marks, sockets, filepath.Join(userHome, "run"), userUnits} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(marks, 0o1777); err != nil {
		return err
	}
	for name, text := range systemUnits {
		if err := os.WriteFile(filepath.Join(unitFiles, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(userUnits, userUnit), []byte("[Unit]\nStartLimitIntervalSec=0\n[Service]\n"+standIn), 0o644); err != nil {
		return err
	}
	if err := maskGenerators(); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(userHome, "run"), 0o700); err != nil {
		return err
	}
	return filepath.WalkDir(userHome, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(name, userOwner, userOwner)
	})
}

// control is the usual drop-in, which matrix.control puts in place of ours.
const control = "[Unit]\nRequires=initcheck.service\nAfter=initcheck.service\n"

// useControl takes our drop-ins away.
func useControl() error {
	dropIns, err := filepath.Glob("/usr/lib/systemd/system/*.d/50-kerngate.conf")
	if len(dropIns) == 0 {
		return errors.New("no drop-in to put the control in place of")
	}
	for _, name := range dropIns {
		err = errors.Join(err, os.WriteFile(name, []byte(control), 0o644))
	}
	return err
}

// maskGenerators spares each reload a dozen programs, which make nothing that matters
// here: systemd.generator(7).
func maskGenerators() error {
	const masks = "/etc/systemd/system-generators"
	if err := os.MkdirAll(masks, 0o755); err != nil {
		return err
	}
	programs, err := filepath.Glob("/usr/lib/systemd/system-generators/*")
	for _, name := range programs {
		err = errors.Join(err, os.Symlink("/dev/null", filepath.Join(masks, filepath.Base(name))))
	}
	return err
}
