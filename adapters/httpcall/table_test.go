package httpcall_test

import (
	"testing"

	"ferry"
	"ferry/adapters/httpcall"
)

func rule(t *testing.T, status, code, when, verdict, effect string) httpcall.Rule {
	t.Helper()
	r, err := httpcall.ParseRule(status, code, "", when, verdict, effect)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestJudge(t *testing.T) {
	own := httpcall.Table{rule(t, "418", "", "", "failed", "none")}
	table := httpcall.Table{
		rule(t, "5xx", "", "", "unknown", ""),
		rule(t, "200-299", "", "", "delivered", ""),
		rule(t, "4xx", "", "", "rejected", ""),
		// Behind the others, and yet before them: they look inside.
		rule(t, "", "^SSS_REQUEST_LIMIT", "", "throttled", ""),
		rule(t, "500", "UNIQUE", "", "duplicate", ""),
		rule(t, "200", "", `.error and .error[0] == "UserError"`, "rejected", ""),
		rule(t, "500", "UNIQUE", "", "failed", ""),
	}
	for name, c := range map[string]struct {
		status int
		body   string
		kind   ferry.VerdictKind
		effect ferry.Effect
	}{
		"by status":                {400, `{"message":"no"}`, ferry.Rejected, ferry.EffectNone},
		"by class":                 {503, ``, ferry.Unknown, ferry.EffectMaybe},
		"code before status":       {400, `{"code":"SSS_REQUEST_LIMIT_EXCEEDED","message":"x"}`, ferry.Throttled, ferry.EffectNone},
		"first of equals":          {500, `{"error":{"code":"SQLITE_CONSTRAINT_UNIQUE","message":"x"}}`, ferry.Duplicate, ferry.EffectDone},
		"jq before status":         {200, `{"error":["UserError",["msg","descr",""]]}`, ferry.Rejected, ferry.EffectNone},
		"jq that does not match":   {200, `{"error":["Other"]}`, ferry.Delivered, ferry.EffectDone},
		"jq on what is no JSON":    {200, `<html>`, ferry.Delivered, ferry.EffectDone},
		"jq that fails":            {200, `{"error":{"a":1}}`, ferry.Delivered, ferry.EffectDone},
		"the first table decides":  {418, `{"code":"SSS_REQUEST_LIMIT_EXCEEDED"}`, ferry.Failed, ferry.EffectNone},
		"nothing matches: no rule": {302, ``, "", ""},
	} {
		a := &httpcall.Answer{Status: c.status, Body: []byte(c.body)}
		got, ok := httpcall.Judge(t.Context(), a, httpcall.DecodeProblem(a.Body), own, table)
		if ok != (c.kind != "") || got.Kind != c.kind || got.Effect != c.effect {
			t.Errorf("%s: %s, %s", name, got.Kind, got.Effect)
		}
	}
	if !table.LooksInside(200) || !table.LooksInside(404) || own.LooksInside(418) {
		t.Error("LooksInside")
	}
	if (httpcall.Table{rule(t, "500", "x", "", "failed", "")}).LooksInside(200) {
		t.Error("LooksInside of a rule for another status")
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for name, c := range map[string][5]string{
		"no condition":    {"", "", "", "failed", ""},
		"status":          {"20x", "", "", "failed", ""},
		"status range":    {"500-400", "", "", "failed", ""},
		"status too high": {"600", "", "", "failed", ""},
		"regexp":          {"", "(", "", "failed", ""},
		"jq":              {"", "", ".a |", "failed", ""},
		"verdict":         {"500", "", "", "nope", ""},
		"worker's own":    {"500", "", "", "expired", ""},
		"effect":          {"500", "", "", "failed", "perhaps"},
		"delivered none":  {"200", "", "", "delivered", "none"},
	} {
		if _, err := httpcall.ParseRule(c[0], c[1], "", c[2], c[3], c[4]); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := rule(t, "502, 504,5XX", "", "", "unknown", "")
	if len(r.Status) != 3 || r.Status[2] != (httpcall.StatusRange{From: 500, To: 599}) || r.Effect != ferry.EffectMaybe {
		t.Errorf("%+v", r)
	}
}
