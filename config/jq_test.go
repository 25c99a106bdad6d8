package config

import (
	"strings"
	"testing"
)

// TestProgramsTellTheirPlace: the line of the file, and line and column of the program.
func TestProgramsTellTheirPlace(t *testing.T) {
	const head = `name: w1
queue: {nats: {url: "nats://h:4222", nkey: env:SEED}}
destinations:
  erp:
    adapter: erp
    url: https://erp.example
`
	const route = `routes:
  - name: invoices
    destination: erp
    url: /in
`
	for name, c := range map[string]struct{ text, want string }{
		"a block": {head + route + `    map: |
      {
        number: .number,
        total: decsumm(.lines)
      }
`, `f.yaml:14: routes[0].map: the jq program, line 3, column 10: function not defined: decsumm/1`},
		"a block without its last line end": {head + route + `    map: |-

      .a | $nothing
`, `f.yaml:13: routes[0].map: the jq program, line 2, column 6: variable not defined: $nothing`},
		"one line": {head + route + `    map: '{a: .b, c: foo}'
`, `f.yaml:11: routes[0].map: the jq program, line 1, column 12: function not defined: foo/0`},
		"a folded text": {head + route + `    map: >
      {a: .b,
      c: foo}
`, `f.yaml:11: routes[0].map: the jq program, line 1, column 12: function not defined: foo/0`},
		"quotes that are not closed": {head + route + `    result: |
      {
        a: "b,
        c: 1
      }
`, `f.yaml:13: routes[0].result: the jq program, line 2, column 6: unterminated string literal`},
		"a lookup": {head + route + `    lookup:
      url: /in?key={externalKey}
      reference: |
        .items[0] |
          .id 1
`, `f.yaml:15: routes[0].lookup.reference: the jq program, line 2, column 7: unexpected token "1"`},
		"a key": {head + route + `    key:
      vendor: |
        .vendor |
        @foo
`, `f.yaml:14: routes[0].key.vendor: the jq program, line 2, column 1: format not defined: @foo`},
		"a rule": {head + `    verdicts:
      - {status: "404", verdict: failed}
      - when: |
          .error |
            tset("x")
        verdict: duplicate
` + route, `f.yaml:11: destinations.erp.verdicts[1].when: the jq program, line 2, column 3: function not defined: tset/1`},
		"an address": {head + `routes:
  - name: invoices
    destination: erp
    url: "/in/{= .a | foo}"
`, `f.yaml:10: routes[0].url: the jq program, line 1, column 7: function not defined: foo/0`},
		"a query and a header": {head + route + `    query:
      a: "1"
      date: "{= .date | sapdat}"
    headers:
      X-A: "{= .a"
`, `f.yaml:13: routes[0].query.date: the jq program, line 1, column 10: function not defined: sapdat/0`},
		"a header without a brace": {head + route + `    headers:
      X-A: "{= .a"
`, `f.yaml:12: routes[0].headers.X-A: {= .a has no closing brace`},
		"poll": {head + route + `    confirm: poll
    poll: {state: '.state | ff'}
`, `f.yaml:12: routes[0].poll.state: the jq program, line 1, column 10: function not defined: ff/0`},
	} {
		_, err := Loader{LookupEnv: env("SEED", "x")}.parseWorker([]byte(c.text), "f.yaml")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}
