package builder

import "fmt"

// Problem is a fact that stops a build, with what to do about it.
type Problem struct {
	Fact   string
	Advice string
}

func (p *Problem) Error() string { return p.Fact }

// Hint says what the user can do next.
func (p *Problem) Hint() string { return p.Advice }

func problem(advice, format string, args ...any) error {
	return &Problem{Fact: fmt.Sprintf(format, args...), Advice: advice}
}
