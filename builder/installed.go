package builder

import "github.com/kerngate/kerngate/builder/rootfs"

// ReadManifest reads what an earlier build put into a tree; nil when there was none.
func ReadManifest(t rootfs.Tree) (*Manifest, error) { return readManifest(t) }
