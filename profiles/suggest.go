package profiles

import (
	"fmt"
	"strings"
)

// didYouMean returns ` (did you mean "X"?)` for the closest of the candidates, and
// "" if none is close. Of equally close ones the first is taken.
func didYouMean(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+1
	for _, c := range candidates {
		// A length that differs by more cannot be closer, and this bounds the work on
		// long words.
		if abs(len(c)-len(word)) >= bestDistance {
			continue
		}
		if d := editDistance(fold(word), fold(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// fold removes the differences that people do not see as one: case, and dash for
// underscore.
func fold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func abs(n int) int {
	return max(n, -n)
}
