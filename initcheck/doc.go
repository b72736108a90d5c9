// Package initcheck decides whether a machine may start its inference services:
// from facts about the running kernel and the policy that kerngate laid into the
// image it makes a verdict, pass or refuse.
//
// Deciding is pure. Reading the facts (package probe), telling the verdict
// (package notify) and the command line (package command) are other rooms.
//
// # The creed
//
// Any doubt refuses. A source that a rule needs and that could not be read, a
// release that does not parse, a policy that decides nothing: each is a doubt,
// and each refuses. Extra sources can only add a reason to refuse; that one of
// them is missing is no doubt, because no rule rests on it alone.
//
// # What is left out
//
// Nothing here asks the kernel by trying: opening an AF_ALG or AF_RXRPC socket
// loads the very module that it looks for. Whether a kernel has a fix is told by
// what its maker says of it (package advisory), never by trying the flaw.
package initcheck
