package ferry_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"ferry"
)

func TestError(t *testing.T) {
	err := ferry.Errorf(ferry.CodeNoSpace, "the disk is full: %w", io.ErrShortWrite).WithHint("make %s", "room")
	if err.Error() != "the disk is full: short write" || err.Hint != "make room" || err.Code != ferry.CodeNoSpace {
		t.Errorf("made %+v", err)
	}
	wrapped := fmt.Errorf("accept: %w", err)
	if !errors.Is(wrapped, io.ErrShortWrite) {
		t.Error("the cause is lost")
	}
	if !errors.Is(wrapped, &ferry.Error{Code: ferry.CodeNoSpace}) {
		t.Error("an error of this code is not found")
	}
	if errors.Is(wrapped, &ferry.Error{Code: ferry.CodeConflict}) {
		t.Error("an error of another code is found")
	}
}

func TestCodeOf(t *testing.T) {
	known := ferry.Errorf(ferry.CodeExists, "taken")
	for _, tc := range []struct {
		err  error
		want ferry.Code
	}{
		{nil, ""},
		{io.EOF, ferry.CodeInternal},
		{known, ferry.CodeExists},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", known)), ferry.CodeExists},
	} {
		if got := ferry.CodeOf(tc.err); got != tc.want {
			t.Errorf("CodeOf(%v) = %q, want %q", tc.err, got, tc.want)
		}
	}
}
