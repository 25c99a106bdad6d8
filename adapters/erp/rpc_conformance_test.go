package erp_test

import (
	"net/http"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest"
)

// rpcHarness says where systems with models called by name differ: every document
// is asked for first, and the body tells what came of a call.
func rpcHarness(t *testing.T, dialect string) adaptertest.Harness {
	h := practiceHarness(t, dialect)
	example := h.Route
	h.Route = func() adapters.RouteConfig {
		route := example()
		route.Finish = "" // what an act comes to after a create has tests of its own
		return route
	}
	unauthorized := adaptertest.Outcome{Kind: ferry.Unauthorized, Effect: ferry.EffectNone}
	h.Expect = adaptertest.Expect{
		Created: http.StatusOK, Searches: true, AlwaysLooksUp: true, Objects: true, BodyTells: true, OwnHealth: true, AtOnce: true,
		Statuses:       map[int]adaptertest.Outcome{302: unauthorized, 404: unauthorized},
		LookupStatuses: map[int]ferry.VerdictKind{302: ferry.Unauthorized},
	}
	return h
}

func TestConformanceTryton(t *testing.T) {
	h := rpcHarness(t, "tryton")
	rejected := adaptertest.Outcome{Kind: ferry.Rejected, Effect: ferry.EffectNone, Status: http.StatusOK}
	h.Expect.Statuses[400], h.Expect.Statuses[422] = rejected, rejected
	h.Expect.Invalid = adaptertest.Refusal{Status: http.StatusOK, Code: "UserError", Text: "supplier is required", Fields: map[string]string{}}
	adaptertest.Run(t, h)
}

func TestConformanceOdooJSONRPC(t *testing.T) {
	h := rpcHarness(t, "odoo-jsonrpc")
	in200 := func(kind ferry.VerdictKind) adaptertest.Outcome {
		return adaptertest.Outcome{Kind: kind, Effect: ferry.EffectNone, Status: http.StatusOK}
	}
	for status, kind := range map[int]ferry.VerdictKind{400: ferry.Rejected, 422: ferry.Rejected, 401: ferry.Unauthorized, 403: ferry.Unauthorized, 404: ferry.Unauthorized} {
		h.Expect.Statuses[status] = in200(kind)
	}
	h.Expect.Invalid = adaptertest.Refusal{Status: http.StatusOK, Code: "odoo.exceptions.ValidationError", Text: "supplier is required", Fields: map[string]string{}}
	adaptertest.Run(t, h)
}

func TestConformanceOdooJSON2(t *testing.T) {
	h := rpcHarness(t, "odoo-json2")
	h.Expect.Statuses[400] = adaptertest.Outcome{Kind: ferry.Rejected, Effect: ferry.EffectNone, Status: http.StatusUnprocessableEntity}
	// An exception of Odoo's program, and not of what stands before it.
	h.Expect.Statuses[500] = adaptertest.Outcome{Kind: ferry.Failed, Effect: ferry.EffectMaybe}
	h.Expect.Invalid = adaptertest.Refusal{Status: http.StatusUnprocessableEntity, Code: "odoo.exceptions.ValidationError", Text: "supplier is required", Fields: map[string]string{}}
	adaptertest.Run(t, h)
}
