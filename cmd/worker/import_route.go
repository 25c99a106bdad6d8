package main

import (
	"slices"
	"strings"

	"ferry/adapters"
	"ferry/internal/apispec"
	"ferry/internal/stanza"
)

// routeOf makes a route of an operation, with guesses in comments.
func routeOf(doc *apispec.Document, op *apispec.Operation) (stanza.Route, adapters.RouteConfig) {
	r := stanza.Route{Name: stanza.Name(op.ID, "deliver"), Operation: op.ID}
	if _, err := doc.Operation(op.ID); err != nil { // the id stands there twice
		r.Operation = op.Name()
	}
	cfg := adapters.RouteConfig{Operation: r.Operation, Parameters: map[string]string{}}
	r.Notes = append(r.Notes, strings.TrimSuffix(op.Name()+": "+op.Summary, ": "))
	if op.Deprecated {
		r.Notes = append(r.Notes, "The description calls it deprecated.")
	}
	r.Parameters = parametersOf(op, &cfg)
	bodyOf(op, &r, &cfg)
	referenceOf(op, &r, &cfg)
	r.Guesses = append(r.Guesses, lookupOf(doc, op)...)
	return r, cfg
}

// maxOptional is how many optional parameters are shown.
const maxOptional = 10

// parametersOf gives every parameter a source of its own name, which the sender's
// payload may have elsewhere. What need not be filled in stands as a comment.
func parametersOf(op *apispec.Operation, cfg *adapters.RouteConfig) []stanza.Parameter {
	var out []stanza.Parameter
	optional := 0
	for _, p := range op.Parameters {
		if _, fixed := p.Schema.Fixed(); fixed || p.Unsupported != "" || strings.EqualFold(p.Name, "Idempotency-Key") {
			continue
		}
		name := p.Name
		if slices.ContainsFunc(op.Parameters, func(q apispec.Parameter) bool { return q.Name == p.Name && q.In != p.In }) {
			name = p.In + "." + p.Name
		}
		jq := stanza.Path(p.Name)
		if !p.Required {
			if optional++; optional > maxOptional {
				continue
			}
		} else {
			cfg.Parameters[name] = jq
		}
		out = append(out, stanza.Parameter{Name: name, JQ: jq, Note: p.In + ", " + p.Schema.Outline().Type, Optional: !p.Required})
	}
	slices.SortStableFunc(out, func(a, b stanza.Parameter) int {
		switch {
		case a.Optional == b.Optional:
			return 0
		case a.Optional:
			return 1
		}
		return -1
	})
	return out
}

func bodyOf(op *apispec.Operation, r *stanza.Route, cfg *adapters.RouteConfig) {
	content, isJSON := op.Body.JSON()
	switch {
	case op.Body == nil:
		r.Notes = append(r.Notes, "It takes no body: the message fills in parameters only.")
	case !isJSON:
		r.Notes = append(r.Notes, "It takes "+strings.Join(op.Body.Types(), ", ")+": the sender's body passes as it is.")
	default:
		outline := content.Schema.Outline()
		r.Map = stanza.Map(outline)
		cfg.Map = r.Map
		r.Notes = append(r.Notes, "The map takes a message that looks like the body: change what stands right of the colons. A message that fits as it is needs no map.")
		if content.Schema != nil {
			if v, err := content.Schema.Validator(); err == nil {
				for _, note := range v.Notes {
					r.Notes = append(r.Notes, "Not checked before it is sent: "+note)
				}
			}
		}
	}
}

// referenceOf guesses where the document's number stands in the answer.
func referenceOf(op *apispec.Operation, r *stanza.Route, cfg *adapters.RouteConfig) {
	location, later, described := false, false, false
	for _, answer := range op.Responses {
		if !answer.IsSuccess() {
			continue
		}
		later = later || answer.Status == "202"
		location = location || answer.Location
		if answer.Schema == nil || r.Reference != "" {
			continue
		}
		described = true
		r.Reference = stanza.Reference(answer.Schema.Outline())
	}
	cfg.Reference = r.Reference
	switch {
	case r.Reference != "":
	case location:
		r.Guesses = append(r.Guesses, "The reference is the last part of the answer's Location.")
	case described:
		r.Guesses = append(r.Guesses, "reference: .id # jq over the answer: the document's number, which was not recognised in it")
	default:
		r.Guesses = append(r.Guesses, "reference: .id # jq over the answer, which the description leaves open")
	}
	if later {
		r.Guesses = append(r.Guesses, "The answer 202 may mean that it is not done yet. When its Location can be asked: confirm: poll")
	}
	for _, p := range op.Parameters {
		if name := strings.ToLower(p.Name); p.In == apispec.InHeader && strings.Contains(name, "idempot") {
			r.Guesses = append(r.Guesses, "The API knows the header "+p.Name+". If it repeats its answer for a known key: keyHeader: "+p.Name+" and onUnknown: repost")
		}
	}
}

// lookupOf looks for a way to ask for a document by what the message knows of it.
func lookupOf(doc *apispec.Document, op *apispec.Operation) []string {
	switch op.Method {
	case "PUT":
		return []string{"onUnknown: repost # a PUT may be repeated, where the API keeps to that"}
	case "PATCH":
		return nil
	}
	for _, ask := range doc.Operations {
		if ask.Method != "GET" || strings.Contains(ask.Path, "{") || strings.TrimRight(ask.Path, "/") != strings.TrimRight(op.Path, "/") {
			continue
		}
		for _, wanted := range []string{"external", "reference", "clientref", "key", "number", "docno", "filter"} {
			for _, p := range ask.Parameters {
				if p.In != apispec.InQuery || p.Unsupported != "" || !p.Schema.TakesText() || !strings.Contains(strings.ToLower(p.Name), wanted) {
					continue
				}
				return lookupLines(ask, p)
			}
		}
	}
	return []string{"Without a lookup a lost answer is held for a person: docs/configuration.md, onUnknown."}
}

func lookupLines(ask *apispec.Operation, p apispec.Parameter) []string {
	found := ".items[0].id"
	for _, answer := range ask.Responses {
		if answer.IsSuccess() && answer.Schema != nil {
			if jq := stanza.FoundIn(answer.Schema.Outline()); jq != "" {
				found = jq
			}
		}
	}
	value := "{externalKey}"
	if strings.Contains(strings.ToLower(p.Name), "filter") {
		value = "…{externalKey}…"
	}
	lines := []string{
		ask.Name() + " takes " + p.Name + ". If the document bears the external key there, a lost answer is settled by asking:",
		`lookup: {url: "` + strings.TrimRight(ask.Path, "/") + "?" + p.Name + "=" + value + `", reference: "` + found + `"}`,
	}
	if slices.ContainsFunc([]string{"filter", "q", "search"}, func(s string) bool { return strings.EqualFold(p.Name, s) }) {
		return lines
	}
	return append(lines, "keyField: "+p.Name+" # if a member of the body of that name is to bear the key")
}
