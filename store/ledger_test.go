package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

const childDir = "FERRY_TEST_LEDGER"

// TestChildAccepts is the process that TestKillMinusNine kills.
func TestChildAccepts(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs as a child of TestKillMinusNine only")
	}
	l := openIn(t, dir, Options{})
	for range 8 {
		go func() {
			for {
				id := accept(t, l, `{"n":1}`, withOrder("o"))
				fmt.Println("accepted", id)
			}
		}()
	}
	time.Sleep(time.Minute)
}

func TestKillMinusNine(t *testing.T) {
	dir := t.TempDir()
	var accepted []ferry.ID
	for range 5 {
		child := exec.Command(os.Args[0], "-test.run=^TestChildAccepts$")
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		must0(t, err)
		must0(t, child.Start())
		lines, n := bufio.NewScanner(out), 0
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "accepted ")
			if id, err := ferry.ParseID(text); ok && err == nil {
				accepted = append(accepted, id)
				n++
			}
			if n == 60 {
				must0(t, child.Process.Kill())
			}
		}
		_ = child.Wait() // killed
		if n < 60 {
			t.Fatalf("the child accepted only %d", n)
		}
	}
	l := openIn(t, dir, Options{})
	for _, id := range accepted {
		if e := show(t, l, id); !e.State.Pending() {
			t.Errorf("message %s is %s", id, e.State)
		}
	}
	must0(t, l.sound())
}

func TestOpenRefusals(t *testing.T) {
	l := newLedger(t)
	_, err := Open(l.dir, Options{})
	wantCode(t, err, ferry.CodeLedgerLocked)

	must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error { return tx.Bucket(bMeta).Put(metaSchema, u64(99)) }))
	must0(t, l.Close())
	foreign := t.TempDir()
	b, err := bbolt.Open(filepath.Join(foreign, "ledger.db"), 0o600, nil)
	must0(t, err)
	must0(t, b.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody's"))
		return err
	}))
	must0(t, b.Close())
	rubbish := t.TempDir()
	must0(t, os.WriteFile(filepath.Join(rubbish, "ledger.db"), bytes.Repeat([]byte("x"), 1<<16), 0o600))
	for dir, code := range map[string]ferry.Code{
		l.dir: ferry.CodeLedgerNewer, foreign: ferry.CodeLedgerUnreadable, rubbish: ferry.CodeLedgerUnreadable,
	} {
		path := filepath.Join(dir, "ledger.db")
		before, err := os.ReadFile(path)
		must0(t, err)
		_, err = Open(dir, Options{MinFree: -1})
		wantCode(t, err, code)
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s: the refused file was changed", code)
		}
	}
}

func TestMigrate(t *testing.T) {
	l := newLedger(t)
	ran := []int{}
	noting := func(n int) step {
		return func(*bbolt.Tx) error {
			ran = append(ran, n)
			return nil
		}
	}
	must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
		steps := []step{}
		for n := 1; n <= SchemaVersion()+2; n++ {
			steps = append(steps, noting(n))
		}
		return migrate(tx, steps)
	}))
	if want := fmt.Sprint([]int{SchemaVersion() + 1, SchemaVersion() + 2}); fmt.Sprint(ran) != want {
		t.Errorf("steps %v ran, want %s", ran, want)
	}
	must0(t, l.db.View(func(tx *bbolt.Tx) error {
		if v := binary.BigEndian.Uint64(tx.Bucket(bMeta).Get(metaSchema)); v != uint64(SchemaVersion()+2) {
			t.Errorf("schema version %d, want %d", v, SchemaVersion()+2)
		}
		return nil
	}))
}

func TestBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		bind := func(inbox string, force bool) error {
			return l.Bind(ctx, testRoute, Binding{Worker: "w", Inbox: inbox, Bound: time.Minute}, force, "", "ann")
		}
		must0(t, bind("one", false))
		must0(t, bind("one", false))
		wantCode(t, bind("two", false), ferry.CodeConflict)
		held := accept(t, l, "held")
		handOut(t, l, testRoute, 1)
		time.Sleep(time.Second)
		fresh := accept(t, l, "fresh")
		wantCode(t, l.Discard(ctx, held, "", "ann"), ferry.CodeInDelivery)
		must0(t, bind("two", true))
		if r := rec(t, l, held); r.Turn != 2 || !r.Elsewhere || !r.Doubt || !timeOf(r.NotBefore).Equal(time.Now().Add(time.Minute)) {
			t.Errorf("held: %+v", r)
		}
		if r := rec(t, l, fresh); r.Turn != 1 || r.Doubt {
			t.Errorf("not handed out: %+v", r)
		}
		if ready := handOut(t, l, testRoute, 10); len(ready) != 1 || ready[0].ID != fresh || ready[0].Inbox != "two" {
			t.Errorf("handed out %+v", ready)
		}
		must0(t, l.sound())
	})
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		admin, err := l.CreateKey(ctx, ferry.KeySpec{Name: "admin", Role: ferry.RoleAdmin}, "start")
		must0(t, err)
		sender, err := l.CreateKey(ctx, ferry.KeySpec{Name: "flow", Role: ferry.RoleSender, Routes: []string{testRoute}, Expires: time.Now().Add(time.Hour)}, "admin")
		must0(t, err)
		who, err := l.Authenticate(sender.Secret)
		if err != nil || who.Name != "flow" || who.Role != ferry.RoleSender || len(who.Routes) != 1 {
			t.Errorf("authenticated %+v, %v", who, err)
		}
		for _, bad := range []string{"", "fry_a_b", "x", sender.Secret[:len(sender.Secret)-1], sender.Secret + "a", strings.Replace(sender.Secret, sender.ID, "aaaaaaaa", 1)} {
			_, err := l.Authenticate(bad)
			wantCode(t, err, ferry.CodeUnauthenticated)
		}
		rotated, err := l.RotateKey(ctx, "flow", "primary", "", "admin")
		must0(t, err)
		_, err = l.Authenticate(sender.Secret)
		wantCode(t, err, ferry.CodeUnauthenticated)
		l = reopen(t, l)
		if _, err := l.Authenticate(rotated.Secret); err != nil {
			t.Errorf("the rotated key after a restart: %v", err)
		}
		time.Sleep(time.Hour + time.Second)
		_, err = l.Authenticate(rotated.Secret)
		wantCode(t, err, ferry.CodeUnauthenticated)

		_, err = l.RevokeKey(ctx, admin.ID, "", "admin")
		wantCode(t, err, ferry.CodeConflict) // the last one
		second, err := l.CreateKey(ctx, ferry.KeySpec{Name: "second", Role: ferry.RoleAdmin}, "admin")
		must0(t, err)
		errs := make(chan error, 2)
		for _, id := range []string{admin.ID, second.ID} {
			go func() {
				_, err := l.RevokeKey(ctx, id, "", "admin")
				errs <- err
			}()
		}
		if a, b := <-errs, <-errs; (a == nil) == (b == nil) {
			t.Errorf("of the last two admin keys: %v, %v", a, b)
		}
		must0(t, l.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bKeys).ForEach(func(_, v []byte) error {
				if bytes.Contains(v, []byte(rotated.Secret)) || bytes.Contains(v, []byte(strings.Split(rotated.Secret, "_")[2])) {
					t.Error("the ledger keeps a secret")
				}
				return nil
			})
		}))
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var ended []ferry.ID
		for range 3 {
			id := accept(t, l, "x")
			for range 5 {
				report(t, l, id, ferry.Failed, retryIn(0))
			}
			report(t, l, id, ferry.Delivered, ferry.Next{})
			ended = append(ended, id)
		}
		dead, waiting := deadLetter(t, l, "dead"), accept(t, l, "waiting")
		time.Sleep(time.Hour)
		n, err := l.Purge(t.Context(), time.Now())
		if err != nil || n != 3 {
			t.Errorf("purged %d, %v", n, err)
		}
		wantState(t, l, dead, ferry.StateDeadLettered)
		wantState(t, l, waiting, ferry.StateAccepted)
		must0(t, l.db.View(func(tx *bbolt.Tx) error {
			for _, id := range ended {
				if left, err := attempts(tx, id); err != nil || len(left) != 0 {
					t.Errorf("%d attempts are left, %v", len(left), err)
				}
			}
			return nil
		}))
		must0(t, l.sound())
	})
}

func TestListsAndCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var ids []ferry.ID
		for i := range 5 {
			ids = append(ids, deadLetter(t, l, fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		owner := func(string) string { return "" }
		f := ferry.DeadLetterFilter{Limit: 1}
		page, err := l.DeadLetters(f, owner)
		must0(t, err)
		if len(page.Items) != 1 || page.Items[0].ID != ids[4] {
			t.Fatalf("the first page: %+v", page)
		}
		// The place of the cursor is gone, and nothing stands behind it.
		must0(t, l.Replay(t.Context(), ids[4], nil, "", "", "ann"))
		f.Cursor = page.NextCursor
		if page, err = l.DeadLetters(f, owner); err != nil || len(page.Items) != 1 || page.Items[0].ID != ids[3] {
			t.Errorf("the second page: %+v, %v", page, err)
		}
		all, err := l.Messages(ferry.MessageFilter{Limit: 2})
		must0(t, err)
		seen := []ferry.ID{}
		for {
			for _, e := range all.Items {
				seen = append(seen, e.ID)
			}
			if all.NextCursor == "" {
				break
			}
			all, err = l.Messages(ferry.MessageFilter{Limit: 2, Cursor: all.NextCursor})
			must0(t, err)
		}
		if len(seen) != 5 || seen[0] != ids[4] || seen[4] != ids[0] {
			t.Errorf("paged through %v", seen)
		}
		for _, bad := range []string{"x", f.Cursor[1:], "A" + f.Cursor[1:], strings.Repeat("A", len(f.Cursor))} {
			if bad == f.Cursor {
				continue
			}
			_, err := l.DeadLetters(ferry.DeadLetterFilter{Limit: 1, Cursor: bad}, owner)
			wantCode(t, err, ferry.CodeBadCursor)
		}
		time.Sleep(ferry.CursorLife + time.Second)
		_, err = l.DeadLetters(f, owner)
		wantCode(t, err, ferry.CodeBadCursor)

		if id, err := l.ResolveID(ids[2].Short()); err != nil || id != ids[2] {
			t.Errorf("ResolveID: %s, %v", id, err)
		}
		_, err = l.ResolveID("zz")
		wantCode(t, err, ferry.CodeBadID)
		_, err = l.ResolveID("ffffffffffff")
		wantCode(t, err, ferry.CodeMessageNotFound)
	})
}

func TestGroups(t *testing.T) {
	l := newLedger(t)
	say := func(text string) func(*ferry.Receipt) { return func(rc *ferry.Receipt) { rc.Text = text } }
	var first ferry.ID
	for i := range 3 {
		first = accept(t, l, "x")
		report(t, l, first, ferry.Rejected, setAside(ferry.ReasonRejected), say(fmt.Sprintf("invoice INV-%d: no vendor", i)))
	}
	groups, err := l.Groups(ferry.DeadLetterFilter{}, nil)
	if err != nil || len(groups) != 1 || groups[0].Count != 3 || groups[0].Description != "invoice #: no vendor" {
		t.Fatalf("groups %+v, %v", groups, err)
	}
	must0(t, l.AcceptDead(t.Context(), first, "INV-9", "", "ann"))
	if groups, _ = l.Groups(ferry.DeadLetterFilter{}, nil); groups[0].Count != 2 {
		t.Errorf("after one left: %+v", groups)
	}
	must0(t, l.updateRoute(t.Context(), testRoute, nil, func(_ *bbolt.Tx, row *routeRow) error {
		row.Groups = ferry.MaxGroups
		return nil
	}))
	for _, text := range []string{"new one", "new two"} {
		id := accept(t, l, "x")
		report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), say(text))
		if g := show(t, l, id).DeadLetter.Group; g != ferry.GroupOther {
			t.Errorf("beyond the limit: group %q", g)
		}
	}
}
