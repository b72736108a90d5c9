//go:build linux

package main

// module is one that is tried.
type module struct {
	name      string
	aliases   []string // what the kernel asks modprobe for
	dependant string   // a module that needs it; empty: none that the tested kernels have
	nobody    bool     // the same is to be tried as nobody
}

// modules are what is tried: those that the profiles block, and two of other kinds.
// From modinfo and the kernel's source.
var modules = []module{
	{name: "af_alg", aliases: []string{"net-pf-38"}, dependant: "algif_hash", nobody: true},
	{name: "algif_aead", aliases: []string{"algif-aead"}, nobody: true},
	{name: "algif_hash", aliases: []string{"algif-hash"}, nobody: true},
	{name: "algif_rng", aliases: []string{"algif-rng"}, nobody: true},
	{name: "algif_skcipher", aliases: []string{"algif-skcipher"}, nobody: true},
	{name: "authencesn", aliases: []string{"crypto-authencesn", "authencesn"}, nobody: true},
	{name: "esp4", aliases: []string{"xfrm-type-2-50"}, dependant: "esp4_offload", nobody: true},
	{name: "esp6", aliases: []string{"xfrm-type-10-50"}, dependant: "esp6_offload", nobody: true},
	{name: "rxrpc", aliases: []string{"net-pf-33"}, dependant: "kafs", nobody: true},
	{name: "nft_dup_ipv4", aliases: []string{"nft-expr-2-dup"}, nobody: true},
	{name: "nft_dup_ipv6", aliases: []string{"nft-expr-10-dup"}, nobody: true},
	{name: "xt_TEE", aliases: []string{"ipt_TEE", "ip6t_TEE"}, nobody: true},
	// Called net-act-pedit since 6.7, and by its own name before.
	{name: "act_pedit", aliases: []string{"net-act-pedit", "act_pedit"}},
}
