package erp_test

import (
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/adapters/adaptertest/practice"
	"ferry/mapping"
)

func TestConformanceFrappe(t *testing.T) {
	h := practiceHarness(t, "frappe")
	h.Expect = adaptertest.Expect{
		Created: 200,
		Invalid: adaptertest.Refusal{Status: 417, Code: "MandatoryError", Text: "the invoice is not valid", Fields: map[string]string{"number": "missing", "supplier": "missing"}},
		// A conflict is found out about; 409 is not among the statuses of the case.
		Searches: true, Objects: true, OwnHealth: true, AtOnce: true,
	}
	adaptertest.Run(t, h)
}

func TestConformanceNetSuite(t *testing.T) {
	h := practiceHarness(t, "netsuite")
	h.Expect = adaptertest.Expect{
		Created:         204,
		Key:             func(call adapters.Call) string { return mapping.ShortKey(call.ExternalKey, ferry.MaxKeyLength) },
		Invalid:         adaptertest.Refusal{Code: "validation", Fields: map[string]string{"number": "number is required", "supplier": "supplier is required", "total": "must not be negative"}},
		Duplicates:      []practice.OnDuplicate{practice.Conflict, practice.BareError},
		Objects:         true,
		NumberElsewhere: true, OwnHealth: true, AtOnce: true,
	}
	adaptertest.Run(t, h)
}

func TestConformanceAcumatica(t *testing.T) {
	h := practiceHarness(t, "acumatica")
	h.Expect = adaptertest.Expect{
		Created:  200,
		Invalid:  adaptertest.Refusal{Status: 422, Code: "-", Fields: map[string]string{"number": "number is required", "supplier": "supplier is required", "total": "must not be negative"}},
		Searches: true, Objects: true, OwnHealth: true, AtOnce: true,
	}
	adaptertest.Run(t, h)
}
