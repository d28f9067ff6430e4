// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// RBTree is an intrusive red-black tree in the kernel's terms: the node lives
// inside the object, the caller walks down from Root with its own comparison
// and then links the new node where the walk ended. No comparison function, no
// interface call and no allocation stand between the caller and the pointers.
//
//	var parent *kernel.RBNode[extentState]
//	left := false
//	for n := tree.Root(); n != nil; {
//		parent = n
//		if left = off < n.Owner().start; left {
//			n = n.Left()
//		} else {
//			n = n.Right()
//		}
//	}
//	tree.Link(&state.node, parent, left)
//
// INVARIANTS: a red node has no red child; every path from a node down to a
// missing child passes the same number of black nodes; the root is black.
// Together they bound the depth by 2 log2(n+1).
//
// The zero tree is empty. Callers serialise access; walks of readers beside a
// writer are not safe.
type RBTree[T any] struct {
	root *RBNode[T]
}

// RBNode is the link that an object carries for one tree.
type RBNode[T any] struct {
	parent, left, right *RBNode[T]
	owner               *T
	red, linked         bool
}

// Init tells the node which object it belongs to; it must not be linked.
func (n *RBNode[T]) Init(owner *T) { *n = RBNode[T]{owner: owner} }

// Owner returns the object that carries n; nil for a nil node, so that
// tree.First().Owner() needs no check.
func (n *RBNode[T]) Owner() *T {
	if n == nil {
		return nil
	}
	return n.owner
}

// Left returns the left child.
func (n *RBNode[T]) Left() *RBNode[T] { return n.left }

// Right returns the right child.
func (n *RBNode[T]) Right() *RBNode[T] { return n.right }

// Linked reports whether n is in a tree (!RB_EMPTY_NODE).
func (n *RBNode[T]) Linked() bool { return n.linked }

// Root returns the topmost node, nil if the tree is empty.
func (t *RBTree[T]) Root() *RBNode[T] { return t.root }

// Empty reports whether the tree has no node (RB_EMPTY_ROOT).
func (t *RBTree[T]) Empty() bool { return t.root == nil }

// First returns the leftmost node.
//
//kernel:lib/rbtree.c rb_first
func (t *RBTree[T]) First() *RBNode[T] {
	n := t.root
	if n == nil {
		return nil
	}
	for n.left != nil {
		n = n.left
	}
	return n
}

// Last returns the rightmost node.
//
//kernel:lib/rbtree.c rb_last
func (t *RBTree[T]) Last() *RBNode[T] {
	n := t.root
	if n == nil {
		return nil
	}
	for n.right != nil {
		n = n.right
	}
	return n
}

// Next returns the node behind n in order.
//
//kernel:lib/rbtree.c rb_next
func (n *RBNode[T]) Next() *RBNode[T] {
	if !n.linked {
		return nil
	}
	if c := n.right; c != nil {
		for c.left != nil {
			c = c.left
		}
		return c
	}
	p := n.parent
	for p != nil && n == p.right {
		n, p = p, p.parent
	}
	return p
}

// Prev returns the node in front of n in order.
//
//kernel:lib/rbtree.c rb_prev
func (n *RBNode[T]) Prev() *RBNode[T] {
	if !n.linked {
		return nil
	}
	if c := n.left; c != nil {
		for c.right != nil {
			c = c.right
		}
		return c
	}
	p := n.parent
	for p != nil && n == p.left {
		n, p = p, p.parent
	}
	return p
}

// replaceChild makes p point at c where it pointed at n; p == nil is the root.
func (t *RBTree[T]) replaceChild(p, n, c *RBNode[T]) {
	switch {
	case p == nil:
		t.root = c
	case p.left == n:
		p.left = c
	default:
		p.right = c
	}
}

// rotateLeft lifts x.right above x.
func (t *RBTree[T]) rotateLeft(x *RBNode[T]) {
	y, p := x.right, x.parent
	if x.right = y.left; x.right != nil {
		x.right.parent = x
	}
	y.left, y.parent, x.parent = x, p, y
	t.replaceChild(p, x, y)
}

// rotateRight lifts x.left above x.
func (t *RBTree[T]) rotateRight(x *RBNode[T]) {
	y, p := x.left, x.parent
	if x.left = y.right; x.left != nil {
		x.left.parent = x
	}
	y.right, y.parent, x.parent = x, p, y
	t.replaceChild(p, x, y)
}

// Link puts n under parent, where the caller's walk found no child, and
// rebalances (rb_link_node and rb_insert_color). parent nil: the tree is empty.
//
//kernel:lib/rbtree.c rb_insert_color
func (t *RBTree[T]) Link(n, parent *RBNode[T], left bool) {
	if n.linked {
		panic("kernel.RBTree: node is already linked")
	}
	n.parent, n.left, n.right, n.red, n.linked = parent, nil, nil, true, true
	switch {
	case parent == nil:
		t.root = n
	case left:
		parent.left = n
	default:
		parent.right = n
	}
	// The only rule that can be broken is "red n has a red parent"; each turn
	// either repairs it with at most two rotations or moves it two levels up.
	for {
		p := n.parent
		if p == nil {
			n.red = false
			return
		}
		if !p.red {
			return
		}
		g := p.parent // exists: the root is black
		if p == g.left {
			if u := g.right; u != nil && u.red {
				p.red, u.red, g.red = false, false, true
				n = g
				continue
			}
			if n == p.right {
				t.rotateLeft(p)
				p = n
			}
			p.red, g.red = false, true
			t.rotateRight(g)
			return
		}
		if u := g.left; u != nil && u.red {
			p.red, u.red, g.red = false, false, true
			n = g
			continue
		}
		if n == p.left {
			t.rotateRight(p)
			p = n
		}
		p.red, g.red = false, true
		t.rotateLeft(g)
		return
	}
}

// Erase takes n out of the tree and leaves it ready to be linked again.
//
//kernel:lib/rbtree.c rb_erase
func (t *RBTree[T]) Erase(n *RBNode[T]) {
	if !n.linked {
		panic("kernel.RBTree: node is not linked")
	}
	var child, parent *RBNode[T] // child takes the place where a black node may be missing
	red := n.red
	switch {
	case n.left == nil:
		child, parent = n.right, n.parent
		t.replaceChild(n.parent, n, child)
		if child != nil {
			child.parent = n.parent
		}
	case n.right == nil:
		child, parent = n.left, n.parent
		t.replaceChild(n.parent, n, child)
		child.parent = n.parent
	default:
		// The successor takes n's place and colour; it has no left child.
		s := n.right
		for s.left != nil {
			s = s.left
		}
		child, red = s.right, s.red
		if s.parent == n {
			parent = s
		} else {
			parent = s.parent
			if parent.left = child; child != nil {
				child.parent = parent
			}
			s.right = n.right
			s.right.parent = s
		}
		s.left = n.left
		s.left.parent = s
		s.parent, s.red = n.parent, n.red
		t.replaceChild(n.parent, n, s)
	}
	if !red {
		t.eraseColor(child, parent)
	}
	n.parent, n.left, n.right, n.linked = nil, nil, nil, false
}

// eraseColor repairs a tree in which every path through n, a child of p that
// may be missing, has one black node too few.
func (t *RBTree[T]) eraseColor(n, p *RBNode[T]) {
	for p != nil && (n == nil || !n.red) {
		if n == p.left {
			w := p.right // exists: n's side has black height of at least one
			if w.red {
				w.red, p.red = false, true
				t.rotateLeft(p)
				w = p.right
			}
			if (w.left == nil || !w.left.red) && (w.right == nil || !w.right.red) {
				w.red = true
				n, p = p, p.parent
				continue
			}
			if w.right == nil || !w.right.red {
				w.left.red, w.red = false, true
				t.rotateRight(w)
				w = p.right
			}
			w.red, p.red, w.right.red = p.red, false, false
			t.rotateLeft(p)
			return
		}
		w := p.left
		if w.red {
			w.red, p.red = false, true
			t.rotateRight(p)
			w = p.left
		}
		if (w.left == nil || !w.left.red) && (w.right == nil || !w.right.red) {
			w.red = true
			n, p = p, p.parent
			continue
		}
		if w.left == nil || !w.left.red {
			w.right.red, w.red = false, true
			t.rotateLeft(w)
			w = p.left
		}
		w.red, p.red, w.left.red = p.red, false, false
		t.rotateRight(p)
		return
	}
	if n != nil {
		n.red = false
	}
}
