package entity

import "slices"

const pageMost = 512

// index keeps messages by sequence number. It is a list of sorted pages, so that
// finding, putting in and taking out touch one page whatever the length.
type index struct {
	pages [][]*message // none is empty
	count int
}

func (x *index) len() int { return x.count }

func (x *index) first() *message {
	if x.count == 0 {
		return nil
	}
	return x.pages[0][0]
}

// find is the place of the first message with the number or a higher one; past the
// last page when there is none.
func (x *index) find(number int64) (page, at int) {
	page, _ = slices.BinarySearchFunc(x.pages, number, func(p []*message, n int64) int {
		return order(p[len(p)-1].number, n)
	})
	if page == len(x.pages) {
		return page, 0
	}
	at, _ = slices.BinarySearchFunc(x.pages[page], number, func(m *message, n int64) int {
		return order(m.number, n)
	})
	return page, at
}

func order(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (x *index) get(number int64) *message {
	page, at := x.find(number)
	if page == len(x.pages) || x.pages[page][at].number != number {
		return nil
	}
	return x.pages[page][at]
}

func (x *index) put(m *message) {
	x.count++
	page, at := x.find(m.number)
	if page == len(x.pages) { // behind all others
		if page == 0 || len(x.pages[page-1]) == pageMost {
			x.pages = append(x.pages, append(make([]*message, 0, 16), m))
			return
		}
		x.pages[page-1] = append(x.pages[page-1], m)
		return
	}
	p := slices.Insert(x.pages[page], at, m)
	x.pages[page] = p
	if len(p) > pageMost {
		half := len(p) / 2
		x.pages = slices.Insert(x.pages, page+1, slices.Clone(p[half:]))
		x.pages[page] = slices.Delete(p, half, len(p))
	}
}

func (x *index) remove(m *message) {
	page, at := x.find(m.number)
	if page == len(x.pages) || x.pages[page][at] != m {
		return
	}
	x.count--
	p := slices.Delete(x.pages[page], at, at+1)
	x.pages[page] = p
	if len(p) == 0 {
		x.pages = slices.Delete(x.pages, page, page+1)
	}
}

// each calls see for the messages from a number on, in order, until it says no.
func (x *index) each(from int64, see func(*message) bool) {
	page, at := x.find(from)
	for ; page < len(x.pages); page, at = page+1, 0 {
		for _, m := range x.pages[page][at:] {
			if !see(m) {
				return
			}
		}
	}
}
