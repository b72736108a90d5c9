//go:build !soak

package main

// kills is how often the program is killed; on a busy machine each takes a third of a
// second, so make soak has more of them.
const kills = 40
