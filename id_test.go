package ferry_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry"
)

func TestIDsRiseWithTime(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	var last ferry.ID
	for i := range 1000 {
		now := at.Add(time.Duration(i) * time.Millisecond)
		id, first := ferry.NewID(now), ferry.FirstID(now)
		if bytes.Compare(id[:], last[:]) <= 0 || id.String() <= last.String() {
			t.Fatalf("%s, made later, does not sort behind %s", id, last)
		}
		if bytes.Compare(first[:], id[:]) > 0 || bytes.Compare(first[:], last[:]) <= 0 {
			t.Fatalf("FirstID %s does not part %s from %s", first, last, id)
		}
		if !id.Time().Equal(now) {
			t.Fatalf("%s was made at %v, says %v", id, now, id.Time())
		}
		if s := id.String(); s[14] != '7' || !strings.ContainsRune("89ab", rune(s[19])) {
			t.Fatalf("%s is no UUID of version 7", s)
		}
		last = id
	}
	if a, b := ferry.NewID(at), ferry.NewID(at); a == b {
		t.Error("two ids of one moment are alike")
	}
	if early := ferry.NewID(time.Unix(-5, 0)); early.Time().UnixMilli() != 0 {
		t.Errorf("an id of before 1970 is of %v", early.Time())
	}
}

func TestIDText(t *testing.T) {
	id := ferry.NewID(time.Now())
	for _, s := range []string{id.String(), strings.ToUpper(id.String())} {
		got, err := ferry.ParseID(s)
		if err != nil || got != id {
			t.Errorf("ParseID(%s) = %s, %v", s, got, err)
		}
	}
	text, err := json.Marshal(map[string]ferry.ID{"id": id})
	if err != nil || string(text) != `{"id":"`+id.String()+`"}` {
		t.Errorf("JSON: %s, %v", text, err)
	}
	var back map[string]ferry.ID
	if err := json.Unmarshal(text, &back); err != nil || back["id"] != id {
		t.Errorf("from JSON: %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"id":"x"}`), &back); err == nil {
		t.Error("JSON with a wrong id was read")
	}
	if id.IsZero() || !(ferry.ID{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	if !strings.HasSuffix(id.String(), id.Short()) || len(id.Short()) != 8 {
		t.Errorf("Short is %q", id.Short())
	}
	whole := id.String()
	for _, bad := range []string{"", "x", whole[1:], whole + "0", strings.Replace(whole, "-", "0", 1), "g" + whole[1:], strings.Repeat("x", 500)} {
		if _, err := ferry.ParseID(bad); ferry.CodeOf(err) != ferry.CodeBadID {
			t.Errorf("ParseID(%q): %v", bad, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("the error repeats %d bytes of input", len(err.Error()))
		}
	}
}

func TestIsIDSuffix(t *testing.T) {
	id := ferry.NewID(time.Now()).String()
	for s, want := range map[string]bool{
		id: true, id[30:]: true, strings.ToUpper(id[28:]): true, "abc-12": true,
		"abcde": false, "": false, id + "0": false, "invoice": false, "12345g": false,
	} {
		if got := ferry.IsIDSuffix(s); got != want {
			t.Errorf("IsIDSuffix(%q) = %v", s, got)
		}
	}
}

func TestQueueIDs(t *testing.T) {
	id := ferry.NewID(time.Now())
	if got, want := ferry.QueueID(id, 7, "1-2-3"), id.String()+".7.1-2-3"; got != want {
		t.Errorf("QueueID = %s, want %s", got, want)
	}
	for turn, text := range map[uint64]string{0: "0", 12: "12", 1<<64 - 1: "18446744073709551615"} {
		rc := ferry.Receipt{ID: id, Turn: turn, Worker: "w1", Verdict: ferry.Failed}
		if got, want := rc.QueueID(), id.String()+"."+text+".w1.failed"; got != want {
			t.Errorf("receipt's QueueID = %s, want %s", got, want)
		}
	}
}
