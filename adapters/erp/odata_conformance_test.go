package erp_test

import (
	"testing"

	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/mapping"
)

func TestConformanceOData(t *testing.T) {
	for name, root := range map[string]string{"V4": "/odata/v4/erp", "V2": "/odata/v2/erp"} {
		t.Run(name, func(t *testing.T) {
			h := practiceHarness(t, "odata")
			example := h.Destination
			h.Destination = func(url, keyFile string) adapters.DestinationConfig {
				dest := example(url, keyFile)
				dest.URL = url + root
				if name == "V2" {
					dest.Version = "v2"
				}
				return dest
			}
			h.Expect = adaptertest.Expect{
				Invalid: adaptertest.Refusal{Code: "MULTIPLE_ERRORS", Text: "Multiple errors occurred", Fields: map[string]string{
					"number": "number is required", "supplier": "supplier is required", "total": "must not be negative",
				}},
				Objects: true, OwnHealth: true, AtOnce: true,
			}
			adaptertest.Run(t, h)
		})
	}
}

func TestConformanceSAP(t *testing.T) {
	h := practiceHarness(t, "odata-sap")
	h.Expect = adaptertest.Expect{
		Key: func(call adapters.Call) string { return mapping.ShortKey(call.ExternalKey, 16) },
		Invalid: adaptertest.Refusal{Code: "ZPRACTICE/001", Fields: map[string]string{
			"DocumentHeaderText": "is required", "InvoicingParty": "is required", "total": "must not be negative",
		}},
		Objects: true, OwnHealth: true, AtOnce: true,
	}
	adaptertest.Run(t, h)
}
