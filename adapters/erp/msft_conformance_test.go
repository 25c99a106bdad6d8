package erp_test

import (
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/mapping"
)

// practiceGUID is the id of the practice ERP's document of that number.
func practiceGUID(number string) string {
	return "00000000-0000-4000-8000-000000" + strings.TrimPrefix(number, "INV-")
}

func TestDataverseConformance(t *testing.T) {
	h := practiceHarness(t, "dataverse")
	h.Expect = adaptertest.Expect{
		Key:       func(call adapters.Call) string { return mapping.ShortKey(call.ExternalKey, 100) },
		Reference: practiceGUID,
		Objects:   true,
		OwnHealth: true,
		AtOnce:    true,
		Invalid:   adaptertest.Refusal{Code: "0x80044331", Text: "number is required", Fields: map[string]string{}},
	}
	adaptertest.Run(t, h)
}

func TestD365FOConformance(t *testing.T) {
	h := practiceHarness(t, "d365fo")
	h.Expect = adaptertest.Expect{
		Objects:   true,
		OwnHealth: true,
		AtOnce:    true,
		Searches:  true,
		Invalid:   adaptertest.Refusal{Code: "-", Text: "number is required", Fields: map[string]string{}},
	}
	adaptertest.Run(t, h)
}

func TestBCConformance(t *testing.T) {
	h := practiceHarness(t, "bc")
	example := h.Route
	h.Route = func() adapters.RouteConfig {
		route := example()
		route.Finish = "" // what a post comes to after a create has tests of its own
		return route
	}
	h.Expect = adaptertest.Expect{
		Key:       func(call adapters.Call) string { return mapping.ShortKey(call.ExternalKey, 35) },
		Objects:   true,
		OwnHealth: true,
		AtOnce:    true,
		Searches:  true,
		Invalid:   adaptertest.Refusal{Code: "BadRequest_RequiredParamNotProvided", Text: "number is required", Fields: map[string]string{}},
		Statuses: map[int]adaptertest.Outcome{
			// Their codes: it is company that is wrong there, and not the message.
			400: {Kind: ferry.Rejected, Effect: ferry.EffectNone},
		},
	}
	adaptertest.Run(t, h)
}
