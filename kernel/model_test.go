// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

type item struct {
	key  uint64
	node RBNode[item]
	a, b Entry[item]
}

func newItem(key uint64) *item {
	it := &item{key: key}
	it.node.Init(it)
	it.a.Init(it)
	it.b.Init(it)
	return it
}

func rbInsert(t *RBTree[item], it *item) bool {
	var parent *RBNode[item]
	left := false
	for n := t.Root(); n != nil; {
		parent = n
		if it.key == n.Owner().key {
			return false
		}
		if left = it.key < n.Owner().key; left {
			n = n.Left()
		} else {
			n = n.Right()
		}
	}
	t.Link(&it.node, parent, left)
	return true
}

// rbCheck verifies the colours and links below n and returns the black height.
func rbCheck(t interface{ Fatalf(string, ...any) }, n *RBNode[item]) int {
	if n == nil {
		return 0
	}
	for _, c := range []*RBNode[item]{n.left, n.right} {
		if c == nil {
			continue
		}
		if c.parent != n {
			t.Fatalf("parent link of %d", c.owner.key)
		}
		if n.red && c.red {
			t.Fatalf("red %d under red %d", c.owner.key, n.owner.key)
		}
	}
	l, r := rbCheck(t, n.left), rbCheck(t, n.right)
	if l != r {
		t.Fatalf("black heights %d and %d below %d", l, r, n.owner.key)
	}
	if !n.red {
		l++
	}
	return l
}

// Against a map: any sequence of insertions and removals leaves a valid tree
// with the right contents, walked both ways. Fails if a rotation or recolouring
// is left out.
func TestRBTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree RBTree[item]
		model := map[uint64]*item{}
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			key := rapid.Uint64Range(0, 60).Draw(t, "key")
			if it := model[key]; it != nil {
				tree.Erase(&it.node)
				delete(model, key)
				if it.node.Linked() {
					t.Fatalf("still linked")
				}
				if key%2 == 0 { // the same node again
					it.key += 100
					if rbInsert(&tree, it) {
						model[it.key] = it
					} else {
						it.key = key
					}
				}
			} else {
				it := newItem(key)
				if !rbInsert(&tree, it) {
					t.Fatalf("%d is there", key)
				}
				model[key] = it
			}
			if tree.root != nil && (tree.root.red || tree.root.parent != nil) {
				t.Fatalf("root")
			}
			rbCheck(t, tree.root)
		}
		var keys []uint64
		for k := range model {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		var fwd, back []uint64
		for n := tree.First(); n != nil; n = n.Next() {
			fwd = append(fwd, n.Owner().key)
		}
		for n := tree.Last(); n != nil; n = n.Prev() {
			back = append(back, n.Owner().key)
		}
		slices.Reverse(back)
		if !slices.Equal(fwd, keys) || !slices.Equal(back, keys) || tree.Empty() != (len(keys) == 0) {
			t.Fatalf("%v forwards %v, backwards %v", keys, fwd, back)
		}
	})
}

func TestRBTreeDepthAndAllocs(t *testing.T) {
	var tree RBTree[item]
	items := make([]*item, 1<<14)
	for i := range items {
		items[i] = newItem(uint64(i)) // ascending: the worst case of a plain tree
	}
	allocs := testing.AllocsPerRun(1, func() {
		for _, it := range items {
			if !it.node.Linked() {
				rbInsert(&tree, it)
			}
		}
		for _, it := range items[:len(items)/2] {
			tree.Erase(&it.node)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	depth, deepest := 0, 0
	for n := tree.First(); n != nil; n = n.Next() {
		depth = 0
		for p := n; p != nil; p = p.parent {
			depth++
		}
		deepest = max(deepest, depth)
	}
	if deepest > 2*bits.Len(uint(len(items))) {
		t.Errorf("depth %d", deepest)
	}
}

// Against slices: every operation on two lists.
func TestListModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := make([]*item, 8)
		for i := range items {
			items[i] = newItem(uint64(i))
		}
		var lists [2]List[item]
		var model [2][]*item
		drop := func(it *item) {
			for i := range model {
				if j := slices.Index(model[i], it); j >= 0 {
					model[i] = slices.Delete(model[i], j, j+1)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			it := items[rapid.IntRange(0, len(items)-1).Draw(t, "item")]
			l := rapid.IntRange(0, 1).Draw(t, "list")
			switch rapid.IntRange(0, 7).Draw(t, "op") {
			case 0:
				it.a.Remove()
				drop(it)
			case 1:
				lists[l].MoveBack(&it.a)
				drop(it)
				model[l] = append(model[l], it)
			case 2:
				lists[l].MoveFront(&it.a)
				drop(it)
				model[l] = slices.Insert(model[l], 0, it)
			case 3:
				lists[l].SpliceBackTo(&lists[1-l])
				model[1-l] = append(model[1-l], model[l]...)
				model[l] = nil
			case 4:
				var want *item
				if len(model[l]) > 0 {
					want = model[l][0]
				}
				if got := lists[l].PopFront(); got != want {
					t.Fatalf("PopFront %v, want %v", got, want)
				}
				if want != nil {
					drop(want)
				}
			case 5:
				for x := range lists[l].All() {
					if x.key%2 == 0 {
						x.a.Remove()
					}
				}
				model[l] = slices.DeleteFunc(model[l], func(x *item) bool { return x.key%2 == 0 })
			case 6:
				if pos := lists[l].Last(); pos != nil && pos != it {
					it.a.Remove()
					drop(it)
					it.a.InsertBefore(&pos.a)
					model[l] = slices.Insert(model[l], len(model[l])-1, it)
				}
			case 7:
				if pos := lists[l].First(); pos != nil && pos != it {
					it.a.Remove()
					drop(it)
					it.a.InsertAfter(&pos.a)
					model[l] = slices.Insert(model[l], 1, it)
				}
			}
			for i := range lists {
				got := slices.Collect(lists[i].All())
				var back []*item
				for x := lists[i].Last(); x != nil; x = lists[i].PrevOf(&x.a) {
					back = append(back, x)
				}
				slices.Reverse(back)
				var next []*item
				for x := lists[i].First(); x != nil; x = lists[i].NextOf(&x.a) {
					next = append(next, x)
				}
				if !slices.Equal(got, model[i]) || !slices.Equal(back, model[i]) || !slices.Equal(next, model[i]) ||
					lists[i].Len() != len(model[i]) || lists[i].Empty() != (len(model[i]) == 0) {
					t.Fatalf("list %d: %v, want %v", i, got, model[i])
				}
				for _, x := range got {
					if !x.a.Listed() {
						t.Fatalf("Listed")
					}
				}
			}
		}
	})
	// One object on two lists.
	var l1, l2 List[item]
	it := newItem(1)
	l1.PushBack(&it.a)
	l2.PushFront(&it.b)
	it.a.Remove()
	it.a.Remove()
	if !l1.Empty() || l2.First() != it || l2.Last() != it || it.b.Owner() != it {
		t.Fatal("entries are not independent")
	}
}

// Against a map of entries and marks, with indices that make the tree grow to
// its full depth and shrink again.
func TestXArrayModel(t *testing.T) {
	type model struct {
		e     *item
		marks [3]bool
	}
	rapid.Check(t, func(t *rapid.T) {
		var xa XArray[item]
		m := map[uint64]*model{}
		index := rapid.OneOf(rapid.Uint64Range(0, 130), rapid.Uint64Range(4000, 4200),
			rapid.SampledFrom([]uint64{1 << 30, 1<<36 + 5, 1<<60 - 1, 1 << 60, ^uint64(0), ^uint64(0) - 64}))
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			i := index.Draw(t, "index")
			mark := XAMark(rapid.IntRange(0, 2).Draw(t, "mark"))
			was := m[i]
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0, 1:
				e := newItem(i)
				old := xa.Store(i, e)
				if was == nil {
					m[i] = &model{e: e}
				} else {
					if old != was.e {
						t.Fatalf("Store returned %v", old)
					}
					was.e = e
				}
			case 2:
				old := xa.Erase(i)
				if (was == nil) != (old == nil) || was != nil && was.e != old {
					t.Fatalf("Erase returned %v", old)
				}
				delete(m, i)
			case 3, 4:
				xa.SetMark(i, mark)
				if was != nil {
					was.marks[mark] = true
				}
			case 5:
				xa.ClearMark(i, mark)
				if was != nil {
					was.marks[mark] = false
				}
			}
			var keys []uint64
			for k := range m {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			if xa.Len() != int64(len(keys)) || xa.Empty() != (len(keys) == 0) {
				t.Fatalf("Len %d, want %d", xa.Len(), len(keys))
			}
			for mark := XA_MARK_0; mark <= XA_PRESENT; mark++ {
				has := func(k uint64) bool { return mark == XA_PRESENT || m[k].marks[mark] }
				var want, got []uint64
				for _, k := range keys {
					if has(k) {
						want = append(want, k)
					}
					if xa.GetMark(k, mark) != has(k) || xa.Load(k) != m[k].e {
						t.Fatalf("entry or mark %d of %d", mark, k)
					}
				}
				var at uint64
				for e := xa.Find(&at, ^uint64(0), mark); e != nil; e = xa.FindAfter(&at, ^uint64(0), mark) {
					if e != m[at].e {
						t.Fatalf("Find: wrong entry at %d", at)
					}
					got = append(got, at)
				}
				if !slices.Equal(got, want) || xa.Marked(mark) != (len(want) > 0) {
					t.Fatalf("mark %d: %v, want %v", mark, got, want)
				}
				// From anywhere, up to anywhere.
				from, last := index.Draw(t, "from"), index.Draw(t, "last")
				at = from
				e := xa.Find(&at, last, mark)
				j := sort.Search(len(want), func(j int) bool { return want[j] >= from })
				if j < len(want) && want[j] <= last {
					if e == nil || at != want[j] {
						t.Fatalf("Find from %d to %d: %d, want %d", from, last, at, want[j])
					}
				} else if e != nil || at != from {
					t.Fatalf("Find from %d to %d: %d, want nothing", from, last, at)
				}
			}
		}
	})
}

// Readers beside a writer: what is never erased is always found, marks included.
func TestXArrayReadersBesideWriter(t *testing.T) {
	var xa XArray[item]
	for i := range uint64(64) {
		xa.Store(i*1000, newItem(i*1000))
		xa.SetMark(i*1000, XA_MARK_1)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !stop.Load() {
				for i := range uint64(64) {
					if e := xa.Load(i * 1000); e == nil || e.key != i*1000 {
						t.Errorf("Load(%d) = %v", i*1000, e)
						return
					}
				}
				n, at := 0, uint64(0)
				for e := xa.Find(&at, 1<<20, XA_MARK_1); e != nil; e = xa.FindAfter(&at, 1<<20, XA_MARK_1) {
					if at%1000 == 0 {
						n++
					}
				}
				if n != 64 {
					t.Errorf("found %d of 64 marked entries", n)
					return
				}
			}
		}()
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		i := r.Uint64N(1 << 18)
		if i%1000 == 0 {
			continue
		}
		if r.Uint64N(8) == 0 {
			i <<= 20 // make it grow and shrink
		}
		if i%1000 != 0 {
			xa.Store(i, newItem(i))
			if i%2 == 0 {
				xa.SetMark(i, XA_MARK_1)
			}
			if r.Uint64N(4) != 0 {
				xa.Erase(i)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestRefcount(t *testing.T) {
	var r Refcount
	if r.IncNotZero() {
		t.Fatal("revived")
	}
	r.Set(1)
	r.Inc()
	if r.DecAndTest() || !r.IncNotZero() || r.Read() != 2 || r.DecIfOne() {
		t.Fatal("count")
	}
	r.DecAndTest()
	if !r.DecAndTest() {
		t.Fatal("last")
	}
	for _, f := range []func(){r.Inc, func() { var r Refcount; r.DecAndTest() }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
		r.Set(0)
	}
}

func TestPrintk(t *testing.T) {
	k := New(Options{})
	for i := range 3*logLines + 10 {
		k.Printk("line %d", i)
	}
	d := k.Dmesg()
	if len(d) != logLines || d[0] != "line 1034" || d[len(d)-1] != "line 1545" {
		t.Fatalf("%d lines, %q to %q", len(d), d[0], d[len(d)-1])
	}
	if k.Tainted() || k.WARN_ON(false, "x") || !k.WARN_ON(true, "odd %d", 3) || !k.Tainted() {
		t.Fatal("WARN_ON")
	}
	w := k.Warnings()
	if len(w) != 1 || !strings.Contains(w[0], "WARNING: odd 3 at kernel/model_test.go:") || !strings.Contains(w[0], "TestPrintk") {
		t.Fatalf("%q", w)
	}
}

func TestRand(t *testing.T) {
	a, b, c := New(Options{Seed: 5}), New(Options{Seed: 5}), New(Options{Seed: 6})
	var x, y, z [20]byte
	a.RandBytes(x[:])
	b.RandBytes(y[:])
	c.RandBytes(z[:])
	if x != y || x == z {
		t.Fatalf("%x %x %x", x, y, z)
	}
}
