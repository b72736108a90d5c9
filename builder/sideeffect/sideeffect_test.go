package sideeffect_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/sideeffect"
	"github.com/kerngate/kerngate/profiles"
)

// tree makes a tree of files.
func tree(t *testing.T, files map[string]string) rootfs.Tree {
	t.Helper()
	return imgtest.Tree(t, 0o644, files)
}

// everything is all that the shipped profiles block.
func everything(t *testing.T) []string {
	t.Helper()
	p, err := profiles.Load("page-cache-family")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range p.Modules {
		names = append(names, m.Name)
	}
	return names
}

// short gives effects as "WORD WHO: EVIDENCE | EVIDENCE", with ! in front of certain ones.
func short(effects []sideeffect.Effect) []string {
	var out []string
	for _, e := range effects {
		line := string(e.Accept) + " " + e.Who + ": " + strings.Join(e.Evidence, " | ")
		if e.Certain {
			line = "!" + line
		}
		out = append(out, line)
	}
	return out
}

func dpkg(names ...string) string {
	var out strings.Builder
	for _, name := range names {
		out.WriteString("Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n")
	}
	return out.String()
}

const (
	status    = "var/lib/dpkg/status"
	wants     = "etc/systemd/system/multi-user.target.wants/"
	vendor    = "usr/lib/systemd/system/"
	connected = "connections {\n  office {\n  }\n}\n"
)

// findCase is a tree, a command line, and the effects as short gives them.
type findCase struct {
	files map[string]string
	boot  string
	want  []string
}

// networkCases are about IPsec, AFS and firewalls.
func networkCases() map[string]findCase {
	return map[string]findCase{
		"strongSwan configured and enabled": {
			files: map[string]string{
				status: dpkg("strongswan-swanctl", "charon-systemd"), "etc/swanctl/conf.d/office.conf": "# office\n" + connected,
				vendor + "strongswan.service": "[Service]\n", wants + "strongswan.service": "-> /usr/lib/systemd/system/strongswan.service",
			},
			want: []string{"!ipsec strongSwan: strongswan.service starts at boot: /etc/systemd/system/multi-user.target.wants/strongswan.service | /etc/swanctl/conf.d/office.conf:2 | package strongswan-swanctl 1.0-1 | package charon-systemd 1.0-1"},
		},
		"strongSwan enabled, nothing configured": {
			files: map[string]string{
				status: dpkg("strongswan-swanctl"), "etc/swanctl/swanctl.conf": "# connections {\ninclude conf.d/*.conf\n",
				vendor + "strongswan.service": "[Service]\n", wants + "strongswan.service": "-> /usr/lib/systemd/system/strongswan.service",
			},
			want: []string{"ipsec strongSwan: strongswan.service starts at boot: /etc/systemd/system/multi-user.target.wants/strongswan.service | package strongswan-swanctl 1.0-1"},
		},
		"strongSwan configured and masked": {
			files: map[string]string{
				status: dpkg("strongswan"), "etc/swanctl/conf.d/office.conf": connected,
				vendor + "strongswan.service": "[Service]\n", wants + "strongswan.service": "-> /usr/lib/systemd/system/strongswan.service",
				"etc/systemd/system/strongswan.service": "-> /dev/null",
			},
			want: []string{"ipsec strongSwan: /etc/swanctl/conf.d/office.conf:1 | package strongswan 1.0-1"},
		},
		"strongSwan only installed": {
			files: map[string]string{status: dpkg("strongswan-charon"), vendor + "strongswan-starter.service": "[Service]\n"},
			want:  []string{"ipsec strongSwan: package strongswan-charon 1.0-1 | /usr/lib/systemd/system/strongswan-starter.service, which does not start at boot"},
		},
		"strongSwan removed, its configuration left": {files: map[string]string{"etc/ipsec.conf": "conn office\n", wants + "strongswan.service": "-> /lib/systemd/system/strongswan.service"}},
		"strongSwan of an image whose packages are not read": {
			files: map[string]string{"usr/sbin/charon-systemd": "\x7fELF", "var/lib/rpm/rpmdb.sqlite": ""},
			want:  []string{"ipsec strongSwan: /usr/sbin/charon-systemd"},
		},
		"Libreswan on Alpine": {
			files: map[string]string{
				"lib/apk/db/installed": "P:libreswan\nV:4.12-r0\nA:x86_64\n\n", "etc/ipsec.d/a.conf": "conn %default\nconn a\n",
				"etc/runlevels/default/ipsec": "-> /etc/init.d/ipsec",
			},
			// The service of both has the same name.
			want: []string{
				"!ipsec strongSwan: ipsec.service starts at boot: /etc/runlevels/default/ipsec | /etc/ipsec.d/a.conf:2",
				"!ipsec Libreswan: ipsec.service starts at boot: /etc/runlevels/default/ipsec | /etc/ipsec.d/a.conf:2 | package libreswan 4.12-r0",
			},
		},
		"Cilium, encryption not known": {
			files: map[string]string{"etc/cni/net.d/05-cilium.conflist": "{}"},
			want:  []string{"ipsec Cilium: /etc/cni/net.d/05-cilium.conflist"},
		},
		"Cilium with IPsec": {
			files: map[string]string{"etc/cni/net.d/05-cilium.conflist": "{}", "var/lib/rancher/k3s/server/manifests/cilium.yaml": "data:\n  enable-ipsec: \"true\"\n"},
			want:  []string{"!ipsec Cilium: /var/lib/rancher/k3s/server/manifests/cilium.yaml:2 | /etc/cni/net.d/05-cilium.conflist"},
		},
		"kafs mounted":   {files: map[string]string{"etc/fstab": "# x\nnone /afs afs dyn 0 0\n"}, want: []string{"!afs the kernel's AFS client: /etc/fstab:2"}},
		"kafs installed": {files: map[string]string{status: dpkg("kafs-client")}, want: []string{"afs the kernel's AFS client: package kafs-client 1.0-1"}},
		"OpenAFS enabled": {
			files: map[string]string{vendor + "openafs-client.service": "x", wants + "openafs-client.service": "-> /lib/systemd/system/openafs-client.service"},
			want:  []string{"afs OpenAFS: openafs-client.service starts at boot: /etc/systemd/system/multi-user.target.wants/openafs-client.service"},
		},
		"TEE rule":                     {files: map[string]string{"etc/iptables/rules.v4": "*mangle\n-A PREROUTING -j TEE --gateway 10.0.0.2\n"}, want: []string{"!packet-duplication iptables rules: /etc/iptables/rules.v4:2"}},
		"dup rule":                     {files: map[string]string{"etc/nftables.conf": "ip daddr 10.0.0.1 dup to 10.0.0.9\n"}, want: []string{"!packet-duplication nftables rules: /etc/nftables.conf:1"}},
		"pedit script":                 {files: map[string]string{"usr/local/bin/shape": "#!/bin/sh\ntc filter add dev eth0 action pedit ex\n"}, want: []string{"!pedit tc rules: /usr/local/bin/shape:2"}},
		"program that holds the words": {files: map[string]string{"usr/local/bin/shape": "\x7fELF\naction pedit\n"}},
	}
}

// otherCases are about AF_ALG, modules of any kind, and trees that are odd.
func otherCases() map[string]findCase {
	return map[string]findCase{
		"nothing": {files: map[string]string{"etc/hostname": "x\n", status: dpkg("bash")}},
		"iwd enabled": {
			files: map[string]string{
				"var/lib/pacman/local/iwd-3.9-1/desc": "", vendor + "iwd.service": "[Service]\n",
				wants + "iwd.service": "-> /usr/lib/systemd/system/iwd.service",
			},
			want: []string{"!af-alg-users iwd: iwd.service starts at boot: /etc/systemd/system/multi-user.target.wants/iwd.service | package iwd 3.9-1"},
		},
		"iwd only installed": {
			files: map[string]string{status: dpkg("iwd"), vendor + "iwd.service": "[Service]\n"},
			want:  []string{"af-alg-users iwd: package iwd 1.0-1 | /usr/lib/systemd/system/iwd.service, which does not start at boot"},
		},
		"iwd behind NetworkManager": {
			files: map[string]string{"etc/NetworkManager/conf.d/wifi.conf": "[device]\nwifi.backend=iwd\n"},
			want:  []string{"!af-alg-users iwd: /etc/NetworkManager/conf.d/wifi.conf:2"},
		},
		"FIPS by its file":          {files: map[string]string{"etc/system-fips": ""}, want: []string{"!fips FIPS mode: /etc/system-fips"}},
		"FIPS by the crypto policy": {files: map[string]string{"etc/crypto-policies/config": "FIPS\n"}, want: []string{"!fips FIPS mode: /etc/crypto-policies/config:1"}},
		"FIPS on the command line":  {boot: "root=/dev/vda1 fips=1 quiet", want: []string{"!fips FIPS mode: entry: fips=1"}},
		"FIPS taken back":           {boot: "fips=1 quiet fips=0"},
		"FIPS of another program":   {boot: "quiet -- fips=1"},
		"FIPS tools only":           {files: map[string]string{status: dpkg("dracut-fips")}, want: []string{"fips FIPS mode: package dracut-fips 1.0-1"}},
		"modules loaded at boot": {
			files: map[string]string{"etc/modules": "# rds\nloop\nesp4\n", "etc/modules-load.d/x.conf": "xt_TEE\n;rds\nalgif-hash\n"},
			want: []string{
				"!packet-duplication modules loaded at boot: /etc/modules-load.d/x.conf:1", "!af-alg-users modules loaded at boot: /etc/modules-load.d/x.conf:3",
				"!ipsec modules loaded at boot: /etc/modules:3",
			},
		},
		"dependants": {
			files: map[string]string{
				"usr/lib/modules/6.1.0-1/modules.dep": "kernel/net/ipv4/esp4.ko.xz:\nkernel/net/ipv4/esp4_offload.ko: kernel/net/ipv4/esp4.ko.xz\nkernel/drivers/net/x-driver.ko.zst: kernel/net/ipv4/esp4.ko.xz kernel/net/ipv6/esp6.ko\n",
				"usr/lib/modules/6.2.0-1/modules.dep": "kernel/drivers/net/x-driver.ko: kernel/net/ipv4/esp4.ko\nkernel/esp40.ko:\nkernel/y.ko: kernel/esp40.ko\n",
				"lib":                                 "-> usr/lib",
			},
			want: []string{"ipsec module x_driver: /usr/lib/modules/6.1.0-1/modules.dep:3 | /usr/lib/modules/6.2.0-1/modules.dep:1"},
		},
		"one list by two paths": {
			files: map[string]string{"lib": "-> usr/lib", "usr/lib/modules-load.d/x.conf": "rxrpc\n"},
			want:  []string{"!afs modules loaded at boot: /usr/lib/modules-load.d/x.conf:1"},
		},
		"hidden files":         {files: map[string]string{"etc/iptables/.rules.v4.swp": "-j TEE\n", "etc/modules-load.d/.x.conf": "rxrpc\n"}},
		"links in a circle":    {files: map[string]string{"etc/nftables.conf": "-> nftables.conf", "etc/iptables": "-> /etc/iptables", "etc/systemd/system/a.service": "-> a.service"}},
		"files as directories": {files: map[string]string{"etc/swanctl": "x", "etc/NetworkManager": "x", "usr/lib/systemd/system": "x", "etc/rc2.d": "x"}},
	}
}

func TestFind(t *testing.T) {
	cases := networkCases()
	maps.Copy(cases, otherCases())
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q := sideeffect.Query{Blocked: everything(t)}
			if c.boot != "" {
				q.CommandLines = []sideeffect.CommandLine{{Where: "entry", Text: c.boot}}
			}
			r, err := sideeffect.Find(tree(t, c.files), profiles.KnownSideEffects(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got := short(r.Effects); !slices.Equal(got, c.want) {
				t.Errorf("effects are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			for _, e := range r.Effects {
				if e.Breaks == "" || e.Accept == "" || len(e.Modules) == 0 {
					t.Errorf("effect %+v is not whole", e)
				}
			}
		})
	}
}

// TestOnlyWhatIsBlocked wants the same tree to have other effects with other blocks: in
// FIPS mode algif_aead alone goes without a question.
func TestOnlyWhatIsBlocked(t *testing.T) {
	files := tree(t, map[string]string{
		"etc/system-fips": "", "etc/fstab": "none /afs afs dyn 0 0\n", status: dpkg("libkcapi1"),
		"etc/nftables.conf": "dup to 10.0.0.1\n", vendor + "bluetooth.service": "x",
	})
	for blocked, want := range map[string][]string{
		"":                    nil,
		"algif_aead":          {"af-alg-users libkcapi [algif_aead]"},
		"algif_hash af_alg":   {"!fips FIPS mode [af_alg algif_hash]", "af-alg-users BlueZ [af_alg algif_hash]", "af-alg-users libkcapi [af_alg algif_hash]"},
		"rxrpc":               {"!afs the kernel's AFS client [rxrpc]"},
		"nft_dup_ipv6 xt_TEE": {"!packet-duplication nftables rules [nft_dup_ipv6]"},
		"mac802154":           nil,
	} {
		r, err := sideeffect.Find(files, profiles.KnownSideEffects(), sideeffect.Query{Blocked: strings.Fields(blocked)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, line := range short(r.Effects) {
			who, _, _ := strings.Cut(line, ": ")
			got = append(got, who+" ["+strings.Join(r.Effects[i].Modules, " ")+"]")
		}
		if !slices.Equal(got, want) {
			t.Errorf("blocking %q: effects are %q, want %q", blocked, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	r := sideeffect.Report{Effects: []sideeffect.Effect{
		{Who: "a", Accept: profiles.AcceptFIPS, Certain: true}, {Who: "b", Accept: profiles.AcceptIPsec}, {Who: "c", Accept: profiles.AcceptIPsec, Certain: true},
	}}
	for want, accepted := range map[string][]profiles.Accept{
		"a c": nil, "a": {profiles.AcceptIPsec}, "c": {profiles.AcceptFIPS, profiles.AcceptRDS}, "": {profiles.AcceptFIPS, profiles.AcceptIPsec},
	} {
		var who []string
		for _, e := range r.Refused(accepted) {
			who = append(who, e.Who)
		}
		if got := strings.Join(who, " "); got != want {
			t.Errorf("accepting %v refuses %q, want %q", accepted, got, want)
		}
	}
}

func TestUnread(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"usr/lib/sysimage/rpm/rpmdb.sqlite": "", "etc/nftables.conf": "", "etc/fstab": "-> fstab"}
	if err := imgtest.WriteFiles(dir, 0o644, files); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(dir+"/etc/nftables.conf", 4<<20+1); err != nil {
		t.Fatal(err)
	}
	r, err := sideeffect.Find(imgtest.OpenDir(t, dir), profiles.KnownSideEffects(), sideeffect.Query{Blocked: everything(t)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/fstab: cannot follow the link: /etc/fstab: more than 40 symbolic links",
		"/etc/nftables.conf: size is 4194305 bytes, limit is 4194304",
		"/usr/lib/sysimage/rpm/rpmdb.sqlite: RPM databases are not read",
	}
	if !slices.Equal(r.Unread, want) || len(r.Effects) != 0 {
		t.Errorf("unread are\n%s\nwant\n%s\nand no effects: %v", strings.Join(r.Unread, "\n"), strings.Join(want, "\n"), short(r.Effects))
	}
}

// TestBrokenDatabase wants no answer where the question cannot be asked.
func TestBrokenDatabase(t *testing.T) {
	_, err := sideeffect.Find(tree(t, map[string]string{status: "Package: a\nStatus: install ok installed\n"}), profiles.KnownSideEffects(), sideeffect.Query{Blocked: []string{"esp4"}})
	if err == nil || !strings.Contains(err.Error(), "cannot read the package database /var/lib/dpkg/status") {
		t.Errorf("got %v, want that the database cannot be read", err)
	}
}

// FuzzFind puts hostile text into every kind of file at once.
func FuzzFind(f *testing.F) {
	places := []string{
		"etc/fstab", "etc/modules", "etc/swanctl/conf.d/x.conf", "etc/nftables.conf",
		"usr/lib/modules/6.1/modules.dep", "etc/default/grub",
	}
	dir := f.TempDir()
	find := func(t testing.TB, text string) sideeffect.Report {
		files := map[string]string{}
		for _, p := range places {
			files[p] = strings.ReplaceAll(text, "-> ", "->")
		}
		if err := imgtest.WriteFiles(dir, 0o644, files); err != nil {
			t.Fatal(err)
		}
		tree, err := rootfs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		q := sideeffect.Query{Blocked: []string{"esp4", "rxrpc", "algif_hash", "nft_dup_ipv4"}, CommandLines: []sideeffect.CommandLine{{Where: "w", Text: text}}}
		r, err := sideeffect.Find(tree, profiles.KnownSideEffects(), q)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return r
	}
	seeds := map[string]string{
		"none /afs afs dyn 0 0": "afs", "esp4\n": "ipsec", "fips=1": "fips", "dup to 10.0.0.1": "packet-duplication", "kernel/x.ko: kernel/esp4.ko": "ipsec",
	}
	for _, text := range slices.Sorted(maps.Keys(seeds)) {
		if r := find(f, text); len(r.Effects) == 0 || string(r.Effects[0].Accept) != seeds[text] {
			f.Fatalf("seed %q gives %v, want %s first", text, short(r.Effects), seeds[text])
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range find(t, text).Effects {
			if e.Accept == "" || e.Breaks == "" || len(e.Modules) == 0 || len(e.Evidence) == 0 {
				t.Errorf("effect %+v is not whole", e)
			}
		}
	})
}
