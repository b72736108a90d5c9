//go:build boot

package bootentry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
)

// TestBootBootctl asks systemd's bootctl for the command lines it finds after the change.
func TestBootBootctl(t *testing.T) {
	files := map[string][]byte{
		"/efi/EFI/Linux/debian.efi":   makeUKI(t, section{".osrel", 0x100000, []byte("ID=debian\nPRETTY_NAME=Debian\nVERSION_ID=12\nIMAGE_ID=debian\n")}, uname(), cmdline("root=/dev/vda2 quiet"), linux(), initrd()),
		"/efi/loader/loader.conf":     []byte("timeout 3\n"),
		"/efi/loader/entries/a.conf":  []byte("title A\nlinux /a/linux\noptions root=/dev/vda2\noptions quiet\n"),
		"/efi/loader/entries/b.conf":  []byte("title B\nlinux /a/linux\n"),
		"/efi/a/linux":                []byte("k"),
		"/efi/EFI/systemd/readme.txt": []byte("x"),
	}
	dir := makeDir(t, files)
	edits, refusals := splice(t, read(t, imgtest.OpenDir(t, dir)), want)
	if len(edits) != 3 || len(refusals) != 0 {
		t.Fatalf("%d edits, refusals %v, want three edits", len(edits), refusals)
	}
	apply(t, dir, edits)
	// bootctl wants the ESP to be the root of a file system.
	// Inside a chroot unshare cannot make the mounts private itself, and the root is no
	// mount there.
	own := []string{"--mount", "--propagation", "unchanged"}
	if os.Getuid() != 0 {
		own = append(own, "--user", "--map-root-user")
	}
	cmd := exec.Command("unshare", append(own, "sh", "-c", `{ mount --make-rprivate / 2>/dev/null || :; } && mount --bind "$1" "$1" && exec bootctl list --no-pager --esp-path="$1"`, "sh", filepath.Join(dir, "efi"))...)
	cmd.Env = append(os.Environ(), "SYSTEMD_RELAX_ESP_CHECKS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bootctl: %v\n%s", err, out)
	}
	block := "module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init"
	for _, line := range []string{"options: root=/dev/vda2 quiet " + block, "options: " + block} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("bootctl list lacks %q:\n%s", line, out)
		}
	}
	if n := strings.Count(string(out), block); n != 3 {
		t.Errorf("bootctl list shows %d command lines with the block, want 3:\n%s", n, out)
	}
}
