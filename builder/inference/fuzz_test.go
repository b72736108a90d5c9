package inference

import (
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// FuzzFind gives a unit, a script that it may run, a compose file and a quadlet any content.
func FuzzFind(f *testing.F) {
	seeds := []struct{ unit, script, compose, quadlet string }{
		{"[Service]\nExecStart=-@/usr/bin/vllm vllm serve \\\n# x\n \"a b\"\n", "", "", ""},
		{"[Service]\nEnvironment=\"A=ollama serve\" B=\\x41\nExecStart=/usr/bin/env $A ${B:-c}\n", "", "", ""},
		{"[Service]\nExecStart=/s.sh\n", "#!/bin/sh\nA=llama-server; if true; then exec \"$A\" -m `x` $(y); fi <<E\nE\n", "", ""},
		{"[Service]\nExecStart=/s.sh\n", "#!/usr/bin/python3\nfrom vllm import x\n", "", ""},
		{"[Service]\nExecStart=docker compose -f /c.yaml up\n", "", "services:\n  a:\n    image: ${X:-vllm/vllm-openai}:1\n", ""},
		{"", "", "", "[Container]\nImage=docker.io/ollama/ollama@sha256:0\nExec=serve\n[Install]\nWantedBy=default.target\n"},
		{"[Service]\nExecStart=/bin/sh -c 'python3 -m sglang.launch_server'\n", "", "", "[Container]\nImage=x.image\n"},
	}
	dir := imgtest.Tree(f, 0o644, nil)
	find := func(unit, script, compose, quadlet string) ([]Unit, error) {
		o := rootfs.NewOverlay(dir)
		o.Write("/etc/systemd/system/x@.service", []byte(unit))
		o.Write("/etc/systemd/system/x@.service.d/a.conf", []byte(script))
		o.Write("/etc/systemd/system/y.socket", []byte(quadlet))
		o.Write("/etc/passwd", []byte(compose))
		o.Write("/s.sh", []byte(script))
		o.Write("/c.yaml", []byte(compose))
		o.Write("/etc/containers/systemd/q.container", []byte(quadlet))
		return Find(o, profiles.KnownServers())
	}
	for i, s := range seeds {
		if found, err := find(s.unit, s.script, s.compose, s.quadlet); len(found) == 0 || err != nil {
			f.Fatalf("seed %d: found %v, %v, want a unit", i, found, err)
		}
		f.Add(s.unit, s.script, s.compose, s.quadlet)
	}
	f.Fuzz(func(t *testing.T, unit, script, compose, quadlet string) {
		found, err := find(unit, script, compose, quadlet)
		if err != nil && len(unit)+len(script)+len(quadlet) < maxSettings {
			t.Fatal(err)
		}
		for _, u := range found {
			if u.Server == "" || len(u.Evidence) == 0 || len(u.Evidence) > maxEvidence || len(u.DropIns) == 0 {
				t.Errorf("%+v", u)
			}
			for _, e := range u.Evidence {
				for _, r := range e {
					if !unicode.IsPrint(r) && r != '…' || r == utf8.RuneError {
						t.Errorf("evidence %q has %U", e, r)
					}
				}
			}
		}
	})
}
