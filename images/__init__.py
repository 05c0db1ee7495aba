"""The images that ship: built from Debian packages, pinned wheels and this tree, by no engine and from no registry.

`python -m images` writes the product's image; the `Containerfile` beside this file runs the same code in an engine's
build. One image, `fleet`, holds the programs `fleet`, `fleet-operator` and `fleet-callout`: Python and what they
import, no shell and no package manager. It runs as uid 65532 or any other, with group 0 and a read-only root.

A layer is made once and kept in `$XDG_CACHE_HOME/fleet/images`; a changed line of the product makes the topmost anew,
which takes a second or two. The same inputs give the same bytes.
"""
