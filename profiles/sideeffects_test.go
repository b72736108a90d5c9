package profiles

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSideEffectsTable wants a family for every word and for every known module, and of
// every user no more modules than its family has.
func TestSideEffectsTable(t *testing.T) {
	table, err := decodeSideEffects(sideEffectsText)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Users) < 25 {
		t.Fatalf("the table has %d users, want at least 25", len(table.Users))
	}
	families := map[Accept][]string{}
	covered := map[string]bool{}
	for _, f := range table.Families {
		if families[f.Accept] != nil {
			t.Errorf("family %s stands twice", f.Accept)
		}
		families[f.Accept] = f.Modules
		for _, m := range f.Modules {
			covered[m] = true
		}
	}
	for _, a := range Accepts() {
		if (families[a] == nil) != (a == AcceptExternalCmdline || a == AcceptUnbootableGate) {
			t.Errorf("word %s has a family: %v", a, families[a] != nil)
		}
	}
	for _, m := range KnownModules() {
		if !covered[m.Name] {
			t.Errorf("module %s is in no family: what breaks without it?", m.Name)
		}
	}
	for _, u := range table.Users {
		for _, m := range u.Modules {
			if !slices.Contains(families[u.Accept], m) {
				t.Errorf("user %s needs %s, which is not in the family %s", u.Name, m, u.Accept)
			}
		}
	}
}

// TestSideEffectsPatterns holds each pattern against lines of real files. A pattern that
// has no line here would be a pattern that nobody tried.
func TestSideEffectsPatterns(t *testing.T) {
	lines := []struct {
		file, line string
		found      bool
	}{
		{"/etc/crypto-policies/config", "FIPS", true},
		{"/etc/crypto-policies/config", "# like FIPS", false},
		{"/etc/crypto-policies/state/current", "DEFAULT", false},
		{"/etc/default/grub", `GRUB_CMDLINE_LINUX="quiet fips=1"`, true},
		{"/etc/default/grub", `GRUB_CMDLINE_LINUX="quiet fips=0"`, false},
		{"/etc/default/grub", `#GRUB_CMDLINE_LINUX="fips=1"`, false},
		{"/etc/dracut.conf.d/*.conf", `add_dracutmodules+=" fips "`, true},
		{"/etc/dracut.conf.d/*.conf", `omit_dracutmodules+=" fips "`, false},
		{"/etc/NetworkManager/conf.d/*.conf", "wifi.backend=iwd", true},
		{"/etc/NetworkManager/conf.d/*.conf", "wifi.backend=wpa_supplicant", false},
		{"/etc/ssl/openssl.cnf", "engine_id = afalg", true},
		{"/etc/ssl/openssl.cnf", "dynamic_path = /usr/lib/engines-3/afalg.so", true},
		{"/etc/ssl/openssl.cnf", "# engine_id = afalg", false},
		{"/etc/ssl/openssl.cnf", "Options = KTLS", true},
		{"/etc/ssl/openssl.cnf", "Options = UnsafeLegacyRenegotiation", false},
		{"/etc/swanctl/conf.d/*.conf", "connections {", true},
		{"/etc/swanctl/swanctl.conf", "# connections {", false},
		{"/etc/swanctl/swanctl.conf", "include conf.d/*.conf", false},
		{"/etc/ipsec.conf", "conn office", true},
		{"/etc/ipsec.conf", "conn %default", false},
		{"/etc/ipsec.conf", "#conn sample-self-signed", false},
		{"/etc/kubernetes/manifests/*.yaml", `  enable-ipsec: "true"`, true},
		{"/etc/kubernetes/manifests/*.yaml", `  enable-ipsec: "false"`, false},
		{"/etc/kubernetes/manifests/*.yaml", `    - --enable-ipsec=true`, true},
		{"/etc/config/enable-ipsec", "true", true},
		{"/etc/config/enable-ipsec", "false", false},
		{"/etc/NetworkManager/system-connections/*", "service-type=org.freedesktop.NetworkManager.libreswan", true},
		{"/etc/NetworkManager/system-connections/*", "service-type=org.freedesktop.NetworkManager.openvpn", false},
		{"/etc/netplan/*.yaml", "          service-type: \"org.freedesktop.NetworkManager.strongswan\"", true},
		{"/etc/netplan/*.yaml", "      mode: vti", true},
		{"/etc/netplan/*.yaml", "      mode: sit", false},
		{"/etc/systemd/network/*.netdev", "Kind=xfrm", true},
		{"/etc/systemd/network/*.netdev", "Kind=vxlan", false},
		{"/etc/rc.local", "/sbin/ip xfrm state add src 10.0.0.1", true},
		{"/etc/rc.local", "ip -6 x p add dir out", false},
		{"/etc/rc.local", "ip xfrm state flush", false},
		{"/etc/rc.local", "tc filter add dev eth0 action pedit ex munge", true},
		{"/etc/rc.local", "iptables -t mangle -A PREROUTING -j TEE --gateway 10.0.0.2", true},
		{"/etc/rc.local", "iptables -A INPUT -j TEEHEE", false},
		{"/etc/rc.local", "ebtables -t nat -A POSTROUTING -j snat --to-source 0:1:2:3:4:5", true},
		{"/etc/ipsec-tools.conf", "add 10.0.0.1 10.0.0.2 esp 0x201", true},
		{"/etc/ipsec-tools.conf", "# add 10.0.0.1", false},
		{"/etc/racoon/racoon.conf", "remote anonymous", true},
		{"/etc/kube-flannel/net-conf.json", `    "Type": "ipsec",`, true},
		{"/etc/kube-flannel/net-conf.json", `    "Type": "vxlan"`, false},
		{"/etc/fstab", "#grand.central.org:root.cell /afs afs ro 0 0", false},
		{"/etc/fstab", "none /afs afs dyn 0 0", true},
		{"/etc/fstab", "server:/ /mnt nfs4 xprtsec=mtls 0 0", true},
		{"/etc/systemd/system/*.mount", "Type=afs", true},
		{"/etc/rdma/rdma.conf", "RDS_LOAD=yes", true},
		{"/etc/rdma/rdma.conf", "RDS_LOAD=no", false},
		{"/etc/rdma/modules/*.conf", "rds_rdma", true},
		{"/etc/nginx/*.conf", "  ssl_conf_command Options KTLS;", true},
		{"/etc/gnutls/config", "ktls = true", true},
		{"/etc/iptables/*", "-A PREROUTING -j TEE --gateway 10.0.0.2", true},
		{"/etc/nftables.conf", "    ip daddr 10.0.0.1 dup to 10.0.0.9", true},
		{"/etc/nftables.conf", "    # dup to 10.0.0.9", false},
		{"/etc/sysconfig/ebtables", "-A POSTROUTING -j snat --to-source 1:2:3:4:5:6", true},
	}
	tried := map[string]bool{}
	for _, l := range lines {
		found := false
		for _, s := range signsOf(l.file) {
			if regexp.MustCompile(s.Pattern).MatchString(l.line) {
				found, tried[s.Pattern] = true, true
			}
		}
		if found != l.found {
			t.Errorf("%s: line %q is found: %v, want %v", l.file, l.line, found, l.found)
		}
	}
	for _, u := range KnownSideEffects().Users {
		for _, s := range u.Signs {
			if s.Pattern != "" && !tried[s.Pattern] {
				t.Errorf("user %s: no line here matches the pattern %s", u.Name, s.Pattern)
			}
		}
	}
}

// signsOf gives the signs with a pattern that look into a file.
func signsOf(file string) []Sign {
	var out []Sign
	for _, u := range KnownSideEffects().Users {
		for _, s := range u.Signs {
			if s.Pattern != "" && slices.Contains(s.Files, file) {
				out = append(out, s)
			}
		}
	}
	return out
}

func TestSideEffectsRefused(t *testing.T) {
	family := "[[family]]\naccept = \"rds\"\nmodules = [\"rds\"]\nbreaks = \"b\"\n"
	user := "[[user]]\naccept = \"rds\"\nname = \"n\"\nmodules = [\"rds\"]\npackages = [\"p\"]\nunits = [\"u.service\", \"u.mount\"]\nbreaks = \"b\"\nsource = \"s\"\n" +
		"[[user.sign]]\nfiles = [\"/etc/x*\"]\npattern = 'x'\nproves = \"used\"\n"
	if _, err := decodeSideEffects(family + user); err != nil {
		t.Fatalf("the case to change: %v", err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"word":           {`accept = "rds"`, `accept = "rdma"`, `family "rdma": "rdma" is no word of accept`},
		"module":         {`modules = ["rds"]`, `modules = ["rdma"]`, `"rdma" is no known module`},
		"no modules":     {`modules = ["rds"]`, `modules = []`, "no modules"},
		"breaks nothing": {`breaks = "b"`, `breaks = ""`, "breaks is empty"},
		"no source":      {`source = "s"`, `source = ""`, `user "n": name is "n" and source "", want both`},
		"unit":           {`u.service`, `u.target`, `unit "u.target" is no name of a .service or .socket`},
		"relative file":  {`"/etc/x*"`, `"etc/x*"`, `file "etc/x*" is no rooted path of names, * and ?`},
		"class":          {`"/etc/x*"`, `"/etc/[x]"`, `file "/etc/[x]" is no rooted path of names, * and ?`},
		"no file":        {`"/etc/x*"`, ``, "sign names no file"},
		"proof":          {`proves = "used"`, `proves = "use"`, `sign proves "use", want "installed", "configured" or "used"`},
		"pattern":        {`'x'`, `'('`, "missing closing )"},
		"unknown key":    {`source = "s"`, "source = \"s\"\nsauce = 1", "unknown keys [user.sauce]"},
	} {
		text := strings.Replace(family+user, c.old, c.new, 1)
		if _, err := decodeSideEffects(text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	bare := "[[user]]\naccept = \"rds\"\nname = \"n\"\nmodules = [\"rds\"]\nbreaks = \"b\"\nsource = \"s\"\n"
	if _, err := decodeSideEffects(bare); err == nil || !strings.Contains(err.Error(), "nothing would find it") {
		t.Errorf("a user without signs: got %v, want that nothing would find it", err)
	}
}
