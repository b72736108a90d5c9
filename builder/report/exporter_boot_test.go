//go:build boot

package report_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/report"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
)

// TestBootExporterFollowsTheLink runs Debian's prometheus-node-exporter on the link that a
// profile has, with a directory in place of /run: before the checker has run, after it,
// and after its file is gone again. The boot test 9_speaking does it with the checker.
func TestBootExporterFollowsTheLink(t *testing.T) {
	root := t.TempDir()
	link := ""
	for _, f := range report.Files(header, profiles.Report{NodeExporter: []string{profiles.TextfileDir}}) {
		if f.Target == policy.Metrics {
			link = filepath.Join(root, f.Path)
		}
	}
	metrics := filepath.Join(root, policy.Metrics)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(metrics), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(metrics, link); err != nil {
		t.Fatal(err)
	}
	url := exporter(t, filepath.Dir(link))
	wantLine(t, url, "node_textfile_scrape_error 1")
	if err := os.WriteFile(metrics, []byte("# HELP told Somebody was told.\n# TYPE told gauge\ntold 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantLine(t, url, "node_textfile_scrape_error 0")
	wantLine(t, url, "told 1")
	if err := os.Remove(metrics); err != nil {
		t.Fatal(err)
	}
	wantLine(t, url, "node_textfile_scrape_error 1")
	if text := scrape(t, url); strings.Contains(text, "told 1") {
		t.Errorf("the metric outlives its file:\n%s", text)
	}
}

// exporter starts Debian's program on a port of the loopback, which it does not leave.
func exporter(t *testing.T, dir string) (url string) {
	t.Helper()
	work := t.TempDir()
	for _, argv := range [][]string{{"apt-get", "-q", "download", "prometheus-node-exporter"}, {"sh", "-c", "dpkg-deb --extract prometheus-node-exporter_*.deb ."}} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, filepath.Join(work, "usr/bin/prometheus-node-exporter"), "--web.listen-address="+address, "--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
	})
	url = fmt.Sprintf("http://%s/metrics", address)
	for range 1200 {
		if answer, err := http.Get(url); err == nil {
			answer.Body.Close()
			return url
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the exporter does not answer")
	return ""
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantLine(t *testing.T, url, line string) {
	t.Helper()
	if text := scrape(t, url); !strings.Contains(text, "\n"+line+"\n") {
		t.Errorf("the exporter has no line %q:\n%s", line, text)
	}
}
