package mapping_test

import (
	"strings"
	"testing"

	"ferry/mapping"
)

// The examples of docs/mapping.md are tested there; here are the edges.
func TestFunctions(t *testing.T) {
	for name, c := range map[string]struct{ src, in, want string }{
		"null stays null":              {`[isodate, sapdate, odatadate, noon, endofday("UTC"), inzone("UTC"), parsedate("D"), adddays(1), decstring(2), deccomma(2), decneg, parsedecimal(","), trytondecimal, fromtryton]`, `null`, `[null,null,null,null,null,null,null,null,null,null,null,null,null,null]`},
		"OData before 1970":            {`[odatadate, (odatadate | fromodatadate)]`, `"1969-12-31"`, `["/Date(-86400000)/","1969-12-31T00:00:00"]`},
		"OData milliseconds":           {`fromodatadate`, `"/Date(1795651200250)/"`, `"2026-11-26T00:00:00.25"`},
		"OData offset in front of UTC": {`fromodatadate, isodate`, `"/Date(1795651200000-0300)/"`, `"2026-11-25T19:00:00-05:00"`},
		"OData offset is UTC":          {`utctime`, `"/Date(1795651200000+0060)/"`, `"2026-11-26T00:00:00Z"`},
		"time without an offset":       {`[isodate, odatadate, odatadatetime]`, `"2026-11-26T10:30:00"`, `["2026-11-26","/Date(1795689000000)/","datetime'2026-11-26T10:30:00'"]`},
		"fraction of a second":         {`[odatadatetime, odatadatetimeoffset, utctime, odootime]`, `"2026-11-26T10:30:00.1234567Z"`, `["datetime'2026-11-26T10:30:00.123'","datetimeoffset'2026-11-26T10:30:00.123Z'","2026-11-26T10:30:00.1234567Z","2026-11-26 10:30:00"]`},
		"offset without a colon":       {`utctime`, `"2026-11-26T10:30:00+0100"`, `"2026-11-26T09:30:00Z"`},
		"leap day":                     {`[addmonths(12), addmonths(-1), endofmonth, adddays(1)]`, `"2028-02-29"`, `["2029-02-28","2028-01-29","2028-02-29","2028-03-01"]`},
		"months over years":            {`[addmonths(-11), addmonths(14)]`, `"2026-11-30"`, `["2025-12-30","2028-01-30"]`},
		"year's end":                   {`endofmonth`, `"20261231"`, `"2026-12-31"`},
		"hour that comes twice":        {`withzone("Europe/Berlin")`, `"2026-10-25T02:30:00"`, `"2026-10-25T02:30:00+02:00"`},
		"before and after it":          {`map(withzone("Europe/Berlin"))`, `["2026-10-25T01:59:59","2026-10-25T03:00:00"]`, `["2026-10-25T01:59:59+02:00","2026-10-25T03:00:00+01:00"]`},
		"day without a midnight":       {`startofday("Africa/Cairo")`, `"2026-04-24"`, `"2026-04-24T01:00:00+03:00"`},
		"end of day in summer":         {`endofday("Europe/Berlin")`, `"2026-07-01"`, `"2026-07-01T23:59:59+02:00"`},
		"Tryton's date":                {`[fromtryton, sapdate]`, `{"__class__":"date","year":2026,"month":2,"day":3}`, `["2026-02-03","20260203"]`},
		"Tryton's moment":              {`[fromtryton, odootime]`, `{"__class__":"datetime","year":2026,"month":2,"day":3,"hour":4,"minute":5,"second":6,"microsecond":7000}`, `["2026-02-03T04:05:06.007Z","2026-02-03 04:05:06"]`},
		"Tryton's decimal":             {`fromtryton`, `{"__class__":"Decimal","decimal":"12.50"}`, `12.50`},
		"pattern without separators":   {`parsedate("YYYYMMDDHHmmss")`, `"20261126103000"`, `"2026-11-26T10:30:00"`},
		"pattern of one digit":         {`[formatdate("M/D/YYYY"), (formatdate("M/D/YYYY") | parsedate("M/D/YYYY"))]`, `"2026-01-02"`, `["1/2/2026","2026-01-02"]`},
		"pattern with T and Z":         {`utctime | formatdate("YYYY-MM-DDTHH:mm:ssZ")`, `"2026-11-26T10:30:00+01:00"`, `"2026-11-26T09:30:00Z"`},
		"decdiv":                       {`[decdiv(1; 3; 4), decdiv(-2; 3; 2), decdiv(5; "0.2"; 0), decdiv(1; -8; 2), decdiv(0.125; 1; 2)]`, `null`, `[0.3333,-0.67,25,-0.13,0.13]`},
		"deccmp":                       {`[deccmp(1.0; 1), deccmp(.[0]; .[1]), deccmp(-1; -2)]`, `[12345678901234567.01, 12345678901234567.02]`, `[0,-1,1]`},
		"decstring":                    {`map(decstring(2))`, `["-0.001", 1e3, 2.345, "7", -0.005]`, `["0.00","1000.00","2.35","7.00","-0.01"]`},
		"decabs of zero":               {`[decabs, decneg, decstring]`, `-0.00`, `[0.00,0.00,"0.00"]`},
		"parsedecimal of commas":       {`map(parsedecimal(","))`, `["1.234.567,89", "1234567,89", "1 234,5", "-7", "12,50-", "0,05", "1'234,00", "1 234"]`, `[1234567.89,1234567.89,1234.5,-7,-12.50,0.05,1234.00,1234]`},
		"parsedecimal of points":       {`map(parsedecimal("."))`, `["1,234.56", "1234.56", "-1,234"]`, `[1234.56,1234.56,-1234]`},
		"odatakey":                     {`map(odatakey)`, `["''", 12.50, true, "a b/ä"]`, `["''''''","12.50","true","'a b/ä'"]`},
		"urikey":                       {`urikey`, `"-._~ +?&=/#%'()"`, `"-._~%20%2B%3F%26%3D%2F%23%25%27%28%29"`},
		"sapalpha":                     {`map(sapalpha(4))`, `["7", 12, "0012", "AB"]`, `["0007","0012","0012","AB"]`},
		"fromsapalpha":                 {`map(fromsapalpha)`, `["0000", "0100", "00A1"]`, `["0","100","00A1"]`},
		"shortkey of a number":         {`shortkey(8)`, `4711`, `"4711"`},
	} {
		got, err := run(t, c.src, c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

func TestFunctionsRefuse(t *testing.T) {
	for name, c := range map[string]struct{ src, in, want string }{
		"no date":                  {`sapdate`, `"26.11.2026"`, `sapdate: the text "26.11.2026" is no date: such as 2026-11-26`},
		"no such day":              {`isodate`, `"2026-02-29"`, `isodate: the text "2026-02-29" is no date`},
		"empty date":               {`isodate`, `""`, `the text "" is no date`},
		"number as a date":         {`isodate`, `20261126`, `the number 20261126 is no date`},
		"object as a date":         {`isodate`, `{}`, `neither a date nor a datetime of Tryton`},
		"SAP's initial date":       {`isodate`, `"00000000"`, `is no date`},
		"time without an offset":   {`utctime`, `"2026-11-26T10:30:00"`, `utctime: 2026-11-26T10:30:00 has no offset: withzone(`},
		"date without a time":      {`odootime`, `"2026-11-26"`, `2026-11-26 has no time of day: startofday, noon and endofday`},
		"hour that is left out":    {`withzone("Europe/Berlin")`, `"2026-03-29T02:30:00"`, `2026-03-29T02:30:00 does not exist in Europe/Berlin`},
		"withzone of a moment":     {`withzone("Europe/Berlin")`, `"2026-03-29T02:30:00Z"`, `has an offset already: inzone`},
		"withzone of a day":        {`withzone("Europe/Berlin")`, `"2026-03-29"`, `has no time of day`},
		"unknown zone":             {`inzone("Mars/Base")`, `"2026-11-26T10:30:00Z"`, `there is no time zone "Mars/Base"`},
		"the machine's zone":       {`inzone("Local")`, `"2026-11-26T10:30:00Z"`, `"Local" is no time zone`},
		"zone out of its folder":   {`inzone("../../etc/passwd")`, `"2026-11-26T10:30:00Z"`, `there is no time zone`},
		"OData without an end":     {`fromodatadate`, `"/Date(12"`, `is no date of OData`},
		"OData with letters":       {`fromodatadate`, `"/Date(12a)/"`, `is no date of OData`},
		"OData far away":           {`fromodatadate`, `"/Date(999999999999999)/"`, `outside of the years 1 to 9999`},
		"OData offset":             {`fromodatadate`, `"/Date(0+9999)/"`, `is no date of OData`},
		"Tryton's wrong day":       {`fromtryton`, `{"__class__":"date","year":2026,"month":2,"day":30}`, `does not exist`},
		"Tryton's other object":    {`fromtryton`, `{"__class__":"bytes"}`, `neither a date nor a datetime`},
		"Tryton's decimal":         {`fromtryton`, `{"__class__":"Decimal","decimal":"x"}`, `the text "x" is no number`},
		"pattern of nothing":       {`parsedate("dd.mm.yyyy")`, `"26.11.2026"`, `has 'd', which means nothing`},
		"pattern with a digit":     {`formatdate("2006")`, `"2026-11-26"`, `has '2', which means nothing`},
		"pattern not met":          {`parsedate("DD.MM.YYYY")`, `"2026-11-26"`, `"2026-11-26" is no date of the pattern DD.MM.YYYY`},
		"pattern of a time":        {`formatdate("HH:mm")`, `"2026-11-26"`, `2026-11-26 has no time of day, and the pattern HH:mm wants one`},
		"far days":                 {`adddays(1e9)`, `"2026-11-26"`, `no whole number`},
		"days beyond the calendar": {`adddays(3650000)`, `"2026-11-26"`, `outside of the years`},
		"half a month":             {`addmonths(0.5)`, `"2026-11-26"`, `no whole number from`},
		"division by nothing":      {`decdiv(7; 0.00; 2)`, `null`, `decdiv: 7 is to be divided by 0`},
		"decimals of nothing":      {`decstring(-1)`, `1`, `decstring: the number of decimals: the number -1 is no whole number`},
		"amount as text":           {`decstring(2)`, `"12,50"`, `decstring: the text "12,50" is no number`},
		"amount as people write":   {`parsedecimal(",")`, `"1.23,50"`, `"1.23,50" is no amount with "," before the decimals`},
		"amount the other way":     {`parsedecimal(",")`, `"1,234.56"`, `is no amount`},
		"amount with a currency":   {`parsedecimal(",")`, `"12,50 EUR"`, `is no amount`},
		"amount of nothing":        {`parsedecimal(",")`, `""`, `is no amount`},
		"no separator":             {`parsedecimal(";")`, `"1"`, `no decimal separator`},
		"empty key":                {`odatakey`, `""`, `odatakey: the key is empty`},
		"no key":                   {`odatakey`, `null`, `odatakey: null is no key`},
		"a list as a key":          {`shortkey(12)`, `[]`, `shortkey: an array is no key`},
		"too short":                {`shortkey(4)`, `"INV-1"`, `the number 4 is no whole number from 8`},
		"too long for SAP":         {`sapalpha(3)`, `"12345"`, `the key "12345" has more than 3 characters`},
		"guid of nothing":          {`guid`, `null`, `guid: null is no key`},
		"long value":               {`sapdate`, `"` + strings.Repeat("x", 100_000) + `"`, `…`},
	} {
		got, err := run(t, c.src, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
			t.Errorf("%s: %s, error %.300v; want %s", name, got, err, c.want)
		}
	}
}

// A map of many lines asks for its zone on each of them.
func TestZonesAreReadOnce(t *testing.T) {
	p, err := mapping.Compile(`[range(500) as $i | "2026-11-26T10:30:00Z" | inzone("Europe/Berlin")] | length`)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1, func() {
		if out, err := p.Run(t.Context(), []byte("1")); err != nil || string(out) != "500" {
			t.Errorf("%s, %v", out, err)
		}
	}); n > 500*100 {
		t.Errorf("%.0f allocations for 500 dates", n)
	}
}
