package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBootTestsAreRun: make boot names each package that has tests for it, and no other,
// and each test behind its tag is called so that it runs.
func TestBootTestsAreRun(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(makefile), "\nboot: build\n")
	recipe, _, _ = strings.Cut(recipe, "\n")
	var got, want []string
	for _, argument := range strings.Fields(recipe) {
		if dir, found := strings.CutPrefix(argument, "./"); found {
			got = append(got, strings.TrimSuffix(dir, "/"))
		}
	}
	for name, tests := range testsTagged(t, "//go:build boot") {
		if dir := filepath.Dir(name); !slices.Contains(want, dir) && len(tests) > 0 {
			want = append(want, dir)
		}
		for _, test := range tests {
			if !strings.HasPrefix(test, "TestBoot") {
				t.Errorf("%s: %s is run by nobody, want a name that begins with TestBoot", name, test)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("make boot runs the packages %q, want %q", got, want)
	}
}

// testsTagged lists the tests in the files that begin with a line.
func testsTagged(t *testing.T, tag string) map[string][]string {
	t.Helper()
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	found := map[string][]string{}
	err := filepath.WalkDir("../..", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		if !bytes.HasPrefix(text, []byte(tag+"\n")) {
			return err
		}
		name, err = filepath.Rel("../..", name)
		for _, m := range test.FindAllStringSubmatch(string(text), -1) {
			found[name] = append(found[name], m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
