package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"ferry"
)

func makeKey(t testing.TB, l *Ledger, spec ferry.KeySpec) ferry.NewKey {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "flow"
	}
	if spec.Role == "" {
		spec.Role = ferry.RoleSender
	}
	k, err := l.CreateKey(t.Context(), spec, "admin")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// lets says which of the texts are good.
func lets(l *Ledger, texts ...string) string {
	var in []string
	for i, text := range texts {
		if _, err := l.Authenticate(text); err == nil {
			in = append(in, fmt.Sprint(i))
		}
	}
	return strings.Join(in, " ")
}

// Both texts of a key are good; rotating changes one while the other goes on, also
// over a restart.
func TestTwoSecrets(t *testing.T) {
	l := newLedger(t)
	k := makeKey(t, l, ferry.KeySpec{Environment: "env-1", Routes: []string{testRoute}})
	if k.Secret == k.Secondary || k.Made != ferry.SecretPrimary || lets(l, k.Secret, k.Secondary) != "0 1" {
		t.Fatalf("%+v", k)
	}
	for _, text := range []string{k.Secret, k.Secondary} {
		who, err := l.Authenticate(text)
		want := ferry.Identity{Name: "flow", KeyID: k.ID, Role: ferry.RoleSender, Routes: []string{testRoute}, Environment: "env-1"}
		if diff := cmp.Diff(want, who); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	rotate := func(secret string) ferry.NewKey {
		made, err := l.RotateKey(t.Context(), k.ID, secret, "", "admin")
		if err != nil || made.ID != k.ID || made.Secondary != "" {
			t.Fatalf("%+v %v", made, err)
		}
		return made
	}
	second := rotate(ferry.SecretSecondary)
	if got := lets(l, k.Secret, k.Secondary, second.Secret); got != "0 2" {
		t.Errorf("after the secondary: %s", got)
	}
	l = reopen(t, l)
	if got := lets(l, k.Secret, k.Secondary, second.Secret); got != "0 2" {
		t.Errorf("after a restart: %s", got)
	}
	first := rotate(ferry.SecretPrimary)
	if got := lets(l, k.Secret, k.Secondary, second.Secret, first.Secret); got != "2 3" {
		t.Errorf("after the primary: %s", got)
	}
	if _, err := l.RotateKey(t.Context(), k.ID, "third", "", "admin"); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("a third secret: %v", err)
	}
	if _, err := l.RevokeKey(t.Context(), k.ID, "it left", "admin"); err != nil || lets(l, second.Secret, first.Secret) != "" {
		t.Errorf("a revoked key lets in: %v", err)
	}
	if _, err := l.RotateKey(t.Context(), k.ID, "", "", "admin"); ferry.CodeOf(err) != ferry.CodeConflict {
		t.Errorf("a revoked key was rotated: %v", err)
	}
}

// Without a word which one, the older text ends, so that the two take turns; but not
// while it is in use and its successor never was.
func TestTheOlderSecretIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		k := makeKey(t, l, ferry.KeySpec{})
		rotate := func(want string) ferry.NewKey {
			t.Helper()
			time.Sleep(time.Hour)
			made, err := l.RotateKey(t.Context(), "flow", "", "", "admin")
			if want == "" {
				if ferry.CodeOf(err) != ferry.CodeConflict || !strings.Contains(err.(*ferry.Error).Hint, "--secret") {
					t.Fatalf("want a conflict, got %+v %v", made, err)
				}
				return made
			}
			if err != nil || made.Made != want {
				t.Fatalf("rotated %q, want %q: %v", made.Made, want, err)
			}
			return made
		}
		if _, err := l.Authenticate(k.Secret); err != nil {
			t.Fatal(err)
		}
		second := rotate(ferry.SecretSecondary)
		rotate("") // the flow still has the primary
		if lets(l, k.Secret, second.Secret) != "0 1" {
			t.Fatal("the refused rotation ended something")
		}
		third := rotate(ferry.SecretPrimary) // now it has been seen with the secondary
		rotate("")
		if lets(l, third.Secret) != "0" {
			t.Fatal("the third text is not good")
		}
		rotate(ferry.SecretSecondary)
	})
}

// A key of before there were two secrets goes on as it is, and gets its second with
// the first rotation.
func TestKeysOfBefore(t *testing.T) {
	l := newLedger(t)
	text := newKeyText("oldkeyid")
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old := map[string]any{"id": "oldkeyid", "name": "old", "role": "sender", "createdAt": made, "hash": hashSecret(text)}
	raw, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.update(t.Context(), 0, func(tx *bbolt.Tx) error { return tx.Bucket(bKeys).Put([]byte("oldkeyid"), raw) }); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, l)
	if who, err := l.Authenticate(text); err != nil || who.Name != "old" {
		t.Fatalf("%+v %v", who, err)
	}
	if list := l.Keys(); len(list) != 1 || len(list[0].Secrets) != 1 || !list[0].Secrets[0].CreatedAt.Equal(made) || list[0].Secrets[0].LastUsed == nil {
		t.Errorf("%+v", list)
	}
	// An empty hash is that of no text: there is no second secret yet.
	for _, bad := range []string{"fry_oldkeyid__" + keyCheck("fry_oldkeyid_"), newKeyText("oldkeyid")} {
		if lets(l, bad) != "" {
			t.Errorf("%s is let in", bad)
		}
	}
	second, err := l.RotateKey(t.Context(), "old", "", "", "admin")
	if err != nil || second.Made != ferry.SecretSecondary {
		t.Fatalf("%+v %v", second, err)
	}
	l = reopen(t, l)
	if got := lets(l, text, second.Secret); got != "0 1" {
		t.Errorf("let in: %s", got)
	}
	if _, err := l.RevokeKey(t.Context(), "old", "", "admin"); err != nil || lets(l, text, second.Secret) != "" {
		t.Errorf("%v", err)
	}
}

// Changes of one key that come together are done one after the other: no text that
// was handed out is lost, and no revocation undone.
func TestChangesOfAKeyTogether(t *testing.T) {
	l := newLedger(t)
	k := makeKey(t, l, ferry.KeySpec{})
	var wg sync.WaitGroup
	texts := make([]string, 2)
	for i, secret := range secretNames() {
		wg.Go(func() {
			made, err := l.RotateKey(t.Context(), k.ID, secret, "", "admin")
			if err != nil {
				t.Error(err)
			}
			texts[i] = made.Secret
		})
	}
	wg.Go(func() {
		env := "env-2"
		if _, err := l.EditKey(t.Context(), k.ID, ferry.KeyEdit{Environment: &env}, "admin"); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if got := lets(l, texts...); got != "0 1" {
		t.Errorf("good are %q", got)
	}
	if who, _ := l.Authenticate(texts[0]); who.Environment != "env-2" {
		t.Errorf("%+v", who)
	}
	for _, act := range []func() error{
		func() error { _, err := l.RevokeKey(t.Context(), k.ID, "", "admin"); return err },
		func() error { _, err := l.RotateKey(t.Context(), k.ID, ferry.SecretPrimary, "", "admin"); return err },
		func() error {
			_, err := l.EditKey(t.Context(), k.ID, ferry.KeyEdit{Routes: &[]string{}}, "admin")
			return err
		},
	} {
		wg.Go(func() { _ = act() })
	}
	wg.Wait()
	l = reopen(t, l)
	if list := l.Keys(); list[0].RevokedAt == nil || lets(l, texts...) != "" {
		t.Errorf("the revocation was undone: %+v", list)
	}
}

func TestEditKey(t *testing.T) {
	l := newLedger(t)
	k := makeKey(t, l, ferry.KeySpec{Routes: []string{testRoute}})
	till := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	edited, err := l.EditKey(t.Context(), k.ID, ferry.KeyEdit{Expires: &till, Routes: &[]string{otherRoute}, Note: "moved"}, "ann")
	if err != nil || !edited.ExpiresAt.Equal(till) || edited.Routes[0] != otherRoute {
		t.Fatalf("%+v %v", edited, err)
	}
	who, err := l.Authenticate(k.Secret)
	if err != nil || !who.MaySee(otherRoute) || who.MaySee(testRoute) {
		t.Errorf("%+v %v", who, err)
	}
	audit, err := l.Audit(1, time.Time{}, 10)
	if err != nil || len(audit) != 1 || audit[0].Act != "keys edit" || audit[0].By != "ann" || audit[0].Note != "moved" || audit[0].Detail != "expires "+till.Format(time.RFC3339)+", routes "+otherRoute {
		t.Errorf("%+v %v", audit, err)
	}
	if _, err := l.EditKey(t.Context(), k.ID, ferry.KeyEdit{Expires: &time.Time{}, Routes: &[]string{}}, "ann"); err != nil {
		t.Fatal(err)
	}
	if list := l.Keys(); list[0].ExpiresAt != nil || len(list[0].Routes) != 0 {
		t.Errorf("%+v", list)
	}
	past := time.Now().Add(-time.Second)
	if _, err := l.EditKey(t.Context(), k.ID, ferry.KeyEdit{Expires: &past}, "ann"); err != nil || lets(l, k.Secret, k.Secondary) != "" {
		t.Errorf("an expired key lets in: %v", err)
	}
	admin := makeKey(t, l, ferry.KeySpec{Name: "root", Role: ferry.RoleAdmin})
	if _, err := l.EditKey(t.Context(), admin.ID, ferry.KeyEdit{Expires: &till}, "ann"); ferry.CodeOf(err) != ferry.CodeConflict {
		t.Errorf("the last admin key would have ended: %v", err)
	}
	if _, err := l.EditKey(t.Context(), admin.ID, ferry.KeyEdit{Routes: &[]string{testRoute}}, "ann"); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("an admin key was bound to routes: %v", err)
	}
}

// When keys were last used is kept apart for each secret, and outlives a restart; a
// new text begins without.
func TestKeyUseOutlivesARestart(t *testing.T) {
	l := newLedger(t)
	k, other := makeKey(t, l, ferry.KeySpec{}), makeKey(t, l, ferry.KeySpec{Name: "unused"})
	if _, err := l.Authenticate(k.Secret); err != nil {
		t.Fatal(err)
	}
	before := l.Keys()[0]
	if before.LastUsed == nil || before.Secrets[0].LastUsed == nil || before.Secrets[1].LastUsed != nil {
		t.Fatalf("%+v", before)
	}
	if err := l.KeepKeyUse(t.Context()); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, l)
	list := l.Keys()
	if !list[0].Secrets[0].LastUsed.Equal(*before.LastUsed) || list[0].Secrets[1].LastUsed != nil || list[1].ID != other.ID || list[1].LastUsed != nil {
		t.Errorf("%+v", list)
	}
	size := l.Size()
	for range 100 {
		if err := l.KeepKeyUse(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if l.Size() != size {
		t.Errorf("nothing was used, and something was written")
	}
	if _, err := l.RotateKey(t.Context(), k.ID, ferry.SecretPrimary, "", "admin"); err != nil {
		t.Fatal(err)
	}
	if list := l.Keys(); list[0].Secrets[0].LastUsed != nil {
		t.Errorf("a new text was used before it was made: %+v", list[0])
	}
}

// The 10,001st key takes the place of the one revoked longest ago, and is refused
// where there is none.
func TestKeysAreBounded(t *testing.T) {
	l := newLedger(t)
	first := makeKey(t, l, ferry.KeySpec{})
	l.mu.Lock()
	for i := range ferry.MaxKeys - 1 {
		id := fmt.Sprint("filler", i)
		l.keys[id] = &keyRow{Key: ferry.Key{ID: id, Name: id, Role: ferry.RoleSender}}
	}
	l.mu.Unlock()
	if _, err := l.CreateKey(t.Context(), ferry.KeySpec{Name: "more", Role: ferry.RoleSender}, "admin"); ferry.CodeOf(err) != ferry.CodeLimitReached {
		t.Fatalf("%v", err)
	}
	if _, err := l.RevokeKey(t.Context(), first.ID, "", "admin"); err != nil {
		t.Fatal(err)
	}
	more := makeKey(t, l, ferry.KeySpec{Name: "more"})
	l.mu.RLock()
	count := len(l.keys)
	l.mu.RUnlock()
	if count != ferry.MaxKeys || lets(l, first.Secret, more.Secret) != "1" {
		t.Errorf("%d keys", count)
	}
}

// The audit log is chained from its first entry; entries of before there was a chain
// are followed by it.
func TestAuditChain(t *testing.T) {
	l := newLedger(t)
	for i := range 3 { // as older brokers wrote them
		e := ferry.AuditEntry{Seq: uint64(i + 1), At: time.Now().UTC(), By: "old", Act: "pause", Target: "route x", Note: "<&>\n" + fmt.Sprint(i)}
		err := l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
			if _, err := tx.Bucket(bAudit).NextSequence(); err != nil {
				return err
			}
			return putJSON(tx, bAudit, u64(e.Seq), e)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		makeKey(t, l, ferry.KeySpec{Name: fmt.Sprint("k", i), Note: "ünïcode <b>"})
	}
	list, err := l.Audit(0, time.Time{}, 100)
	if err != nil || len(list) != 7 {
		t.Fatalf("%d %v", len(list), err)
	}
	check := func(list []ferry.AuditEntry) (faults int) {
		var chain ferry.AuditChain
		for _, e := range list {
			text, err := json.Marshal(e) // as it is exported
			if err != nil {
				t.Fatal(err)
			}
			var read ferry.AuditEntry
			if err := json.Unmarshal(text, &read); err != nil {
				t.Fatal(err)
			}
			if chain.Check(read) != nil {
				faults++
			}
		}
		return faults
	}
	if n := check(list); n != 0 {
		t.Errorf("%d faults of an untouched log", n)
	}
	if n := check(list[4:]); n != 0 {
		t.Errorf("%d faults of a part", n)
	}
	for name, change := range map[string]func(l []ferry.AuditEntry) []ferry.AuditEntry{
		"another name":       func(l []ferry.AuditEntry) []ferry.AuditEntry { l[5].By = "somebody"; return l },
		"another note":       func(l []ferry.AuditEntry) []ferry.AuditEntry { l[4].Note += " "; return l },
		"another time":       func(l []ferry.AuditEntry) []ferry.AuditEntry { l[4].At = l[4].At.Add(time.Millisecond); return l },
		"another detail":     func(l []ferry.AuditEntry) []ferry.AuditEntry { l[6].Detail = ""; return l },
		"one taken out":      func(l []ferry.AuditEntry) []ferry.AuditEntry { return append(l[:4:4], l[5:]...) },
		"one taken out, old": func(l []ferry.AuditEntry) []ferry.AuditEntry { return append(l[:1:1], l[2:]...) },
		"renumbered": func(l []ferry.AuditEntry) []ferry.AuditEntry {
			l = append(l[:4:4], l[5:]...)
			l[4].Seq--
			l[5].Seq--
			return l
		},
		"the last of the old":  func(l []ferry.AuditEntry) []ferry.AuditEntry { l[2].Note = "x"; return l },
		"a hash taken out":     func(l []ferry.AuditEntry) []ferry.AuditEntry { l[5].Hash = ""; return l },
		"two that changed":     func(l []ferry.AuditEntry) []ferry.AuditEntry { l[4], l[5] = l[5], l[4]; return l },
		"a name moved to note": func(l []ferry.AuditEntry) []ferry.AuditEntry { l[4].By, l[4].KeyID = "", l[4].By; return l },
	} {
		if check(change(append([]ferry.AuditEntry(nil), list...))) == 0 {
			t.Errorf("%s is not seen", name)
		}
	}
}

func TestAuditSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		began := time.Now()
		for i := range 10 {
			makeKey(t, l, ferry.KeySpec{Name: fmt.Sprint("k", i)})
			time.Sleep(time.Hour)
		}
		for hours, want := range map[int]uint64{-1: 1, 0: 1, 3: 4, 9: 10} {
			list, err := l.Audit(0, began.Add(time.Duration(hours)*time.Hour), 100)
			if err != nil || len(list) != int(11-want) || list[0].Seq != want {
				t.Errorf("since hour %d: %+v %v", hours, list, err)
			}
		}
		if list, err := l.Audit(7, began, 2); err != nil || len(list) != 2 || list[0].Seq != 8 {
			t.Errorf("%+v %v", list, err)
		}
		if list, err := l.Audit(0, time.Now(), 2); err != nil || len(list) != 0 {
			t.Errorf("%+v %v", list, err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	l := newLedger(b)
	k, err := l.CreateKey(b.Context(), ferry.KeySpec{Name: "flow", Role: ferry.RoleSender}, "admin")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Authenticate(k.Secondary); err != nil {
			b.Fatal(err)
		}
	}
}
