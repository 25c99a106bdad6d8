package ferry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry"
)

func TestMessageValidate(t *testing.T) {
	properties := func(n, size int) map[string]string {
		p := map[string]string{}
		for i := range n {
			p[fmt.Sprintf("name-%02d", i)] = strings.Repeat("v", size)
		}
		return p
	}
	for name, tc := range map[string]struct {
		m    ferry.Message
		want ferry.Code
	}{
		"empty":                    {ferry.Message{}, ""},
		"key of 128":               {ferry.Message{IdempotencyKey: strings.Repeat("k", 128)}, ""},
		"key of 129":               {ferry.Message{IdempotencyKey: strings.Repeat("k", 129)}, ferry.CodeBadKey},
		"key with blank and tilde": {ferry.Message{IdempotencyKey: " ~"}, ""},
		"key with a line end":      {ferry.Message{IdempotencyKey: "a\nb"}, ferry.CodeBadKey},
		"key with DEL":             {ferry.Message{IdempotencyKey: "a\x7f"}, ferry.CodeBadKey},
		"key beyond ASCII":         {ferry.Message{IdempotencyKey: "Rechnüng"}, ferry.CodeBadKey},
		"ordering key of 128":      {ferry.Message{OrderingKey: strings.Repeat("ü", 64)}, ""},
		"ordering key of 129":      {ferry.Message{OrderingKey: strings.Repeat("o", 129)}, ferry.CodeBadOrderingKey},
		"correlation id of 128":    {ferry.Message{CorrelationID: strings.Repeat("c", 128)}, ""},
		"correlation id of 129":    {ferry.Message{CorrelationID: strings.Repeat("c", 129)}, ferry.CodeBadCorrelationID},
		"replace":                  {ferry.Message{OnConflict: ferry.OnConflictReplace}, ""},
		"another conflict":         {ferry.Message{OnConflict: "merge"}, ferry.CodeBadRequest},
		"negative time to live":    {ferry.Message{TimeToLive: -time.Second}, ferry.CodeBadDuration},
		"64 properties":            {ferry.Message{Properties: properties(64, 10)}, ""},
		"65 properties":            {ferry.Message{Properties: properties(65, 1)}, ferry.CodeTooManyProperties},
		"32 KiB of properties":     {ferry.Message{Properties: properties(1, 32<<10-7)}, ""},
		"one byte more":            {ferry.Message{Properties: properties(1, 32<<10-6)}, ferry.CodeTooManyProperties},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.m.Validate()
			if err == nil {
				if tc.want != "" {
					t.Fatalf("no error, want %s", tc.want)
				}
				return
			}
			if err.Code != tc.want {
				t.Fatalf("%s (%s), want code %q", err.Code, err, tc.want)
			}
		})
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"ab", "supplier-invoices", "a1", "a--b", strings.Repeat("a", 50)} {
		if err := ferry.ValidName("route", name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a", "1a", "-a", "a-", "Ab", "a_b", "a b", "äb", strings.Repeat("a", 51), "v1", "ui", "healthz", "readyz", "metrics", "connector", "openapi", "queue"} {
		err := ferry.ValidName("route", name)
		if err == nil || err.Code != ferry.CodeBadName || !strings.Contains(err.Message, "route") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestExternalKey(t *testing.T) {
	id := ferry.NewID(time.Now())
	if got := ferry.ExternalKey(id, "K-1"); got != "K-1" {
		t.Errorf("with a key: %q", got)
	}
	if got := ferry.ExternalKey(id, ""); got != id.String() {
		t.Errorf("without a key: %q", got)
	}
}

func TestIdentity(t *testing.T) {
	own := []string{"orders"}
	for _, tc := range []struct {
		who      ferry.Identity
		mayAct   bool // as an operator
		mayWrite bool // as a sender
		sees     bool // a route that is not its own
	}{
		{ferry.Identity{Role: ferry.RoleAdmin, Routes: own}, true, true, true},
		{ferry.Identity{Role: ferry.RoleOperator, Routes: own}, true, false, true},
		{ferry.Identity{Role: ferry.RoleSender, Routes: own}, false, true, false},
		{ferry.Identity{Role: ferry.RoleSender}, false, true, true},
		{ferry.Identity{Role: ferry.RoleReceiver, Routes: own}, false, false, false},
	} {
		if got := tc.who.May(ferry.RoleOperator); got != tc.mayAct {
			t.Errorf("%s may act: %v", tc.who.Role, got)
		}
		if got := tc.who.May(ferry.RoleSender); got != tc.mayWrite {
			t.Errorf("%s may send: %v", tc.who.Role, got)
		}
		if !tc.who.MaySee("orders") || tc.who.MaySee("notes") != tc.sees {
			t.Errorf("%+v: sees its own %v, another %v", tc.who, tc.who.MaySee("orders"), tc.who.MaySee("notes"))
		}
	}
}
