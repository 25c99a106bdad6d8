package broker

import (
	"os"
	"testing"
	"time"

	"ferry"
)

// A broker whose last admin key has expired makes another at its next start: nobody
// is locked out for good.
func TestAdminKeyAfterTheLastExpired(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ensure := func() string {
			t.Helper()
			path, err := w.b.EnsureAdminKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
		path := ensure()
		if path == "" || ensure() != "" {
			t.Fatal("the first start makes one key, and the second none")
		}
		if _, err := w.b.CreateKey(t.Context(), ferry.KeySpec{Name: "second", Role: ferry.RoleAdmin, Expires: time.Now().Add(time.Hour)}, "test"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.b.RevokeKey(t.Context(), "admin", "", "test"); err != nil {
			t.Fatal(err)
		}
		if ensure() != "" {
			t.Fatal("the second key is good for an hour")
		}
		time.Sleep(time.Hour)
		if ensure() == "" {
			t.Fatal("there is no admin key any more")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := w.b.Authenticate(t.Context(), string(text[:len(text)-1])); err != nil || who.Role != ferry.RoleAdmin {
			t.Errorf("%+v %v", who, err)
		}
	})
}
