package entity

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestIndexIsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		var model []int64
		all := map[int64]*message{}
		next := int64(0)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"behind", "anywhere", "remove", "run"}).Draw(t, "step") {
			case "behind": // as sends do
				for range rapid.IntRange(1, 1500).Draw(t, "many") {
					next += 2
					m := &message{number: next}
					all[next] = m
					x.put(m)
					model = append(model, next)
				}
			case "anywhere": // as what is given back does
				n := rapid.Int64Range(0, next/2).Draw(t, "number")*2 + 1
				if all[n] == nil {
					m := &message{number: n}
					all[n] = m
					x.put(m)
					at, _ := slices.BinarySearch(model, n)
					model = slices.Insert(model, at, n)
				}
			case "remove":
				if len(model) > 0 {
					at := rapid.IntRange(0, len(model)-1).Draw(t, "at")
					x.remove(all[model[at]])
					x.remove(all[model[at]])
					delete(all, model[at])
					model = slices.Delete(model, at, at+1)
				}
			case "run": // as receivers do
				for range rapid.IntRange(0, min(900, len(model))).Draw(t, "run") {
					if x.first().number != model[0] {
						t.Fatalf("first %d, want %d", x.first().number, model[0])
					}
					x.remove(x.first())
					delete(all, model[0])
					model = model[1:]
				}
			}
			if x.len() != len(model) {
				t.Fatalf("%d, want %d", x.len(), len(model))
			}
			for _, p := range x.pages {
				if len(p) == 0 || len(p) > pageMost {
					t.Fatalf("a page of %d", len(p))
				}
			}
			from := rapid.Int64Range(-1, next+2).Draw(t, "from")
			var got []int64
			x.each(from, func(m *message) bool {
				got = append(got, m.number)
				return len(got) < 700
			})
			at, found := slices.BinarySearch(model, from)
			if want := model[at:min(at+700, len(model))]; !slices.Equal(got, want) {
				t.Fatalf("from %d: %v, want %v", from, got, want)
			}
			if (x.get(from) != nil) != found {
				t.Fatalf("get %d: %v", from, x.get(from))
			}
		}
	})
}
