package mapping_test

import (
	"fmt"
	"strings"
	"testing"

	"ferry/mapping"
)

func TestShortKey(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"INV-2026_0001.a", 16, "INV-2026_0001.a"},
		{"018f6d6e-7b2a-7c3d-9e4f-001122334455", 36, "018f6d6e-7b2a-7c3d-9e4f-001122334455"},
		{"", 16, ""},
		{"INV-1", 0, ""},
	} {
		if got := mapping.ShortKey(c.in, c.most); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.in, c.most, got, c.want)
		}
	}
	// What does not fit, or what breaks a Dataverse key or a path, is shaped.
	for _, in := range []string{"a/b", "A <1>", "50%", "x:y&z", `a\b`, "..", ".hidden", "Rechnung 1", "Rechnung-ä", strings.Repeat("long-", 60), "--- ---"} {
		for most := 1; most <= 60; most++ {
			got := mapping.ShortKey(in, most)
			if len(got) > most || got == "" || got == in && most < len(in) {
				t.Errorf("%q in %d: %q", in, most, got)
			}
			if strings.Trim(got, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" && in != got || got[0] == '.' {
				t.Errorf("%q in %d: %q is not safe", in, most, got)
			}
			if again := mapping.ShortKey(in, most); again != got {
				t.Errorf("%q in %d: %q, then %q", in, most, got, again)
			}
		}
	}
	// The same beginning does not make the same key.
	long := strings.Repeat("2026-11-26-invoice-", 5)
	seen := map[string]string{}
	for i := range 10_000 {
		in := fmt.Sprint(long, i)
		got := mapping.ShortKey(in, 12)
		if other, taken := seen[got]; taken {
			t.Fatalf("%q and %q are both %q", in, other, got)
		}
		seen[got] = in
	}
	// The beginning is kept for people. The value must never change: documents bear it.
	if got, want := mapping.ShortKey("Rechnung/4711 / 2026", 40), "Rechnung-4711-2026-phm3wev3kaziv6a2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGUID(t *testing.T) {
	const id = "018f6d6e-7b2a-7c3d-9e4f-0011223344ff"
	for in, want := range map[string]string{
		id:                              id,
		strings.ToUpper(id):             id,
		"{" + id + "}":                  id,
		strings.ReplaceAll(id, "-", ""): id,
	} {
		if got := mapping.GUID(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	first, second := mapping.GUID("INV-1"), mapping.GUID("INV-2")
	if first == second || first != mapping.GUID("INV-1") || len(first) != 36 || first[14] != '5' || !strings.ContainsRune("89ab", rune(first[19])) {
		t.Errorf("%s, %s", first, second)
	}
	// As any other program gives it; it must never change.
	if first != "8aedfb37-f210-5863-83f9-09d9f8ed4cbc" {
		t.Error(first)
	}
	if got := mapping.GUID32(id); got != "018F6D6E7B2A7C3D9E4F0011223344FF" {
		t.Error(got)
	}
}
