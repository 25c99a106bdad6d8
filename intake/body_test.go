package intake

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"
	"pgregory.net/rapid"
)

// netXMLOf is what .NET's serializer makes of a string or of bytes, in text
// records of at most chunk bytes.
func netXMLOf(payload []byte, chars bool, chunk int, endInText bool) []byte {
	name, first := "base64Binary", byte(recBytes8)
	if chars {
		name, first = "string", recChars8
	}
	b := append([]byte{recShortElement, byte(len(name))}, name...)
	b = append(b, recShortXmlns, byte(len(serialization)))
	b = append(b, serialization...)
	rest := payload
	for {
		part := rest[:min(len(rest), chunk)]
		rest = rest[len(part):]
		kind := first
		var length []byte
		switch {
		case len(part) < 1<<8:
			length = []byte{byte(len(part))}
		case len(part) < 1<<16:
			kind, length = first+2, binary.LittleEndian.AppendUint16(nil, uint16(len(part)))
		default:
			kind, length = first+4, binary.LittleEndian.AppendUint32(nil, uint32(len(part)))
		}
		last := len(rest) == 0
		if last && endInText {
			kind++
		}
		b = append(append(append(b, kind), length...), part...)
		if last {
			break
		}
	}
	if !endInText {
		b = append(b, recEndElement)
	}
	return b
}

// As Service Bus Explorer sends {"a":1}, byte by byte.
const explorerBody = "@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x9a\x07\x00{\"a\":1}\x01"

func TestBodies(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for what, c := range map[string]struct {
		body, contentType string
		want, wantType    string
	}{
		"JSON":                          {`{"a":1}`, "application/json", `{"a":1}`, "application/json"},
		"explorer":                      {explorerBody, "", `{"a":1}`, ""},
		"explorer, cut short":           {explorerBody[:len(explorerBody)-1], "", explorerBody[:len(explorerBody)-1], ""},
		"explorer, with more behind":    {explorerBody + "x", "", explorerBody + "x", ""},
		"serialized bytes":              {string(netXMLOf([]byte{0, 1, 0xff}, false, 300, true)), "", "\x00\x01\xff", ""},
		"serialized, then base64":       {string(netXMLOf([]byte(b64(`{"a":1}`)), true, 300, true)), "application/json", `{"a":1}`, "application/json"},
		"connector":                     {`{"ContentData":"` + b64(`{"a":1}`) + `","ContentType":"application/json"}`, "", `{"a":1}`, "application/json"},
		"connector, no type":            {`{"ContentData":"` + b64(`<a/>`) + `"}`, "application/json", `<a/>`, ""},
		"connector, no type, JSON":      {`{"ContentData":"` + b64(`{"a":1}`) + `"}`, "text/plain", `{"a":1}`, "application/json"},
		"connector, camel case":         {`{"contentData":"` + b64(`x`) + `","contentType":"text/plain"}`, "", `x`, "text/plain"},
		"connector, bytes with a type":  {`{"ContentData":"AAH/","ContentType":"application/pdf"}`, "", "\x00\x01\xff", "application/pdf"},
		"connector, a trigger's output": {`{"ContentData":"` + b64(`x`) + `","ContentType":"text/plain","ContentTransferEncoding":"Base64","Properties":{"a":"b"},"MessageId":"m","To":null,"ReplyTo":null,"ReplyToSessionId":null,"Label":null,"ScheduledEnqueueTimeUtc":"2026-11-26T00:00:00Z","SessionId":null,"CorrelationId":null,"SequenceNumber":7,"LockToken":"t","TimeToLive":"P1D"}`, "application/json", "x", "text/plain"},
		"a payload with such a member":  {`{"ContentData":"` + b64(`x`) + `","invoice":1}`, "", `{"ContentData":"` + b64(`x`) + `","invoice":1}`, ""},
		"bytes, and nothing says so":    {`{"ContentData":"data"}`, "", `{"ContentData":"data"}`, ""},
		"not base64":                    {`{"ContentData":"hello"}`, "", `{"ContentData":"hello"}`, ""},
		"base64 for URLs":               {`{"ContentData":"_-8=","ContentType":"a/b"}`, "", `{"ContentData":"_-8=","ContentType":"a/b"}`, ""},
		"twice the same member":         {`{"ContentData":"eA==","contentdata":"eA=="}`, "", `{"ContentData":"eA==","contentdata":"eA=="}`, ""},
		"a number for ContentData":      {`{"ContentData":12}`, "", `{"ContentData":12}`, ""},
		"empty ContentData":             {`{"ContentData":""}`, "", `{"ContentData":""}`, ""},
		"deep properties":               {`{"ContentData":"eA==","Properties":{"a":{}}}`, "", `{"ContentData":"eA==","Properties":{"a":{}}}`, ""},
		"two documents":                 {`{"ContentData":"eA=="} {}`, "", `{"ContentData":"eA=="} {}`, ""},
		"a list of them":                {`[{"ContentData":"eA=="}]`, "", `[{"ContentData":"eA=="}]`, ""},
		"base64 said to be JSON":        {b64(`{"a":1}`), "application/json; charset=utf-8", `{"a":1}`, "application/json; charset=utf-8"},
		"base64 said to be XML":         {b64(`<a>1</a>`) + "\n", "text/xml", `<a>1</a>`, "text/xml"},
		"base64 of other things":        {b64(`hello world`), "application/json", b64(`hello world`), "application/json"},
		"base64, nothing said":          {b64(`{"a":1}`), "", b64(`{"a":1}`), ""},
		"base64, said to be text":       {b64(`{"a":1}`), "text/plain", b64(`{"a":1}`), "text/plain"},
		"a JSON string of base64":       {`"` + b64(`{"a":1}`) + `"`, "application/json", `"` + b64(`{"a":1}`) + `"`, "application/json"},
		"a number, base64 as well":      {"1234", "application/json", "1234", "application/json"},
		"empty":                         {"", "application/json", "", "application/json"},
	} {
		t.Run(what, func(t *testing.T) {
			a := &arrival{body: []byte(c.body), contentType: c.contentType, properties: map[string]string{}}
			a.unwrap()
			if string(a.body) != c.want || a.contentType != c.wantType {
				t.Errorf("%q of the type %q, want %q of the type %q", a.body, a.contentType, c.want, c.wantType)
			}
		})
	}
}

// What stands in the connector's object fills in what the queue does not know of
// the message, and no more.
func TestTheConnectorsMembers(t *testing.T) {
	a := &arrival{
		id: "outer", properties: map[string]string{"kept": "outer"},
		body: []byte(`{"ContentData":"eA==","ContentType":"text/plain","MessageId":"inner","CorrelationId":"c","SessionId":"s","Label":"l","To":"t","ReplyTo":"r","ReplyToSessionId":"rs","Properties":{"kept":"inner","n":5,"t":true,"no":null}}`),
	}
	a.unwrap()
	got := fmt.Sprint(a.id, a.correlationID, a.sessionID, a.subject, a.to, a.replyTo, a.replyToSession, a.properties)
	if want := "outer c s l t r rs" + " map[kept:outer n:5 no: t:true]"; strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(want), "") {
		t.Errorf("%s, want %s", got, want)
	}
}

// A payload comes out of every wrapping as it went in, and nothing that is not
// wrapped is changed.
func TestWrappingsAreTakenOffWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "text")
		raw := rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes")
		chunk := rapid.IntRange(1, 300).Draw(rt, "chunk")
		if rapid.Bool().Draw(rt, "long") {
			text, raw, chunk = strings.Repeat(text, 2000), bytes.Repeat(raw, 2000), 1<<20
		}
		inText := rapid.Bool().Draw(rt, "end in text")
		if got, ok := unwrapNetXML(netXMLOf([]byte(text), true, chunk, inText)); !ok || string(got) != text {
			rt.Fatalf("string: %q, %v", got, ok)
		}
		if got, ok := unwrapNetXML(netXMLOf(raw, false, chunk, inText)); !ok || !bytes.Equal(got, raw) {
			rt.Fatalf("bytes: %q, %v", got, ok)
		}
		object, err := json.Marshal(map[string]any{"ContentData": raw, "ContentType": "application/octet-stream", "Label": text})
		if err != nil {
			rt.Fatal(err)
		}
		w, ok := unwrapContentData(object)
		if ok != (len(raw) > 0) || ok && !bytes.Equal(w.body, raw) {
			rt.Fatalf("connector: %q, %v", w.body, ok)
		}
		// The same with one member that is the payload's own.
		object, err = json.Marshal(map[string]any{"ContentData": raw, "ContentType": "a/b", "x" + text: 1})
		if err != nil {
			rt.Fatal(err)
		}
		if w, ok := unwrapContentData(object); ok {
			rt.Fatalf("a payload was taken for a wrapping: %q", w.body)
		}
		genuine := &arrival{body: []byte(`{"payload":` + string(mustJSON(rt, text)) + `}`), contentType: "application/json", properties: map[string]string{}}
		want := string(genuine.body)
		if genuine.unwrap(); string(genuine.body) != want {
			rt.Fatalf("%q became %q", want, genuine.body)
		}
	})
}

func mustJSON(rt *rapid.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		rt.Fatal(err)
	}
	return b
}

func FuzzUnwrap(f *testing.F) {
	f.Add([]byte(explorerBody), "application/json")
	f.Add(netXMLOf([]byte("payload"), false, 3, true), "")
	f.Add([]byte(`{"ContentData":"eyJhIjoxfQ==","ContentType":"application/json","Properties":{"a":"b"}}`), "")
	f.Add([]byte("eyJhIjoxfQ=="), "application/json")
	f.Add([]byte("PGEvPg=="), "text/xml")
	f.Add([]byte{recShortElement, 6, 's'}, "")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		before := bytes.Clone(body)
		a := &arrival{body: body, contentType: contentType, properties: map[string]string{}}
		a.unwrap()
		if !bytes.Equal(before, body) {
			t.Fatal("the received bytes were changed")
		}
		// Nothing grows by being taken out of something, but UTF-16, by half.
		if len(a.body) > 2*len(body) {
			t.Fatalf("%d bytes became %d", len(body), len(a.body))
		}
		if inner, ok := unwrapNetXML(body); ok && len(inner) > 2*len(body) {
			t.Fatalf("%d bytes became %d", len(body), len(inner))
		}
	})
}

// Bodies that are no data sections: what JMS, AMQP libraries and old clients send.
func TestSections(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	id := amqp.UUID{1, 2, 3}
	for what, c := range map[string]struct {
		body           azservicebus.AMQPAnnotatedMessageBody
		want, wantType string
	}{
		"one data section":     {azservicebus.AMQPAnnotatedMessageBody{Data: [][]byte{[]byte("a")}}, "a", ""},
		"several":              {azservicebus.AMQPAnnotatedMessageBody{Data: [][]byte{[]byte("a"), []byte("b")}}, "ab", ""},
		"text":                 {azservicebus.AMQPAnnotatedMessageBody{Value: `{"a":1}`}, `{"a":1}`, "text/plain; charset=utf-8"},
		"bytes":                {azservicebus.AMQPAnnotatedMessageBody{Value: []byte{1, 2}}, "\x01\x02", ""},
		"a number":             {azservicebus.AMQPAnnotatedMessageBody{Value: uint64(math.MaxUint64)}, "18446744073709551615", "application/json"},
		"a map":                {azservicebus.AMQPAnnotatedMessageBody{Value: map[string]any{"a": int32(1), "at": at, "id": id, "raw": []byte("x"), "<": nil}}, `{"<":null,"a":1,"at":"2026-11-26T12:00:00Z","id":"01020300-0000-0000-0000-000000000000","raw":"eA=="}`, "application/json"},
		"a map of numbers":     {azservicebus.AMQPAnnotatedMessageBody{Value: map[any]any{int32(1): true}}, `{"1":true}`, "application/json"},
		"what JSON cannot say": {azservicebus.AMQPAnnotatedMessageBody{Value: []any{math.NaN(), math.Inf(-1), float32(1.5)}}, `["NaN","-Inf",1.5]`, "application/json"},
		"a sequence":           {azservicebus.AMQPAnnotatedMessageBody{Sequence: [][]any{{int64(1), "a"}, {false}}}, `[1,"a",false]`, "application/json"},
		"an array":             {azservicebus.AMQPAnnotatedMessageBody{Value: []uint16{1, 2}}, `[1,2]`, "application/json"},
		"nothing":              {azservicebus.AMQPAnnotatedMessageBody{}, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			got, kind := bodyOf(&azservicebus.ReceivedMessage{RawAMQPMessage: &azservicebus.AMQPAnnotatedMessage{Body: c.body}})
			if string(got) != c.want || kind != c.wantType {
				t.Errorf("%s of the type %q, want %s of the type %q", got, kind, c.want, c.wantType)
			}
		})
	}
	deep := any("x")
	for range 1000 {
		deep = []any{deep}
	}
	if got, _ := bodyOf(&azservicebus.ReceivedMessage{RawAMQPMessage: &azservicebus.AMQPAnnotatedMessage{Body: azservicebus.AMQPAnnotatedMessageBody{Value: deep}}}); len(got) > 3*maxDepth {
		t.Errorf("a deep value became %d bytes", len(got))
	}
}

func TestPropertiesAsText(t *testing.T) {
	// As clients for .NET write their types.
	type describedType struct{ Descriptor, Value any }
	for want, v := range map[string]any{
		"":                             nil,
		"a":                            "a",
		"true":                         true,
		"-5":                           int8(-5),
		"200":                          uint8(200),
		"1.25":                         1.25,
		"0.1":                          float32(0.1),
		"1e+100":                       1e100,
		"2026-11-26T12:00:00.5Z":       time.Date(2026, 11, 26, 13, 0, 0, 5e8, time.FixedZone("", 3600)),
		"eA==":                         []byte("x"),
		"s":                            amqp.Symbol("s"),
		"[1,2]":                        []any{1, 2},
		"2026-11-26T00:00:00.0000001Z": &describedType{amqp.Symbol("com.microsoft:datetime-offset"), time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC).Unix()*1e7 + unixTicks + 1},
		"1.02:03:04.5000000":           &describedType{amqp.Symbol("com.microsoft:timespan"), int64((26*3600+3*60+4)*1e7 + 5e6)},
		"-00:00:01":                    &describedType{amqp.Symbol("com.microsoft:timespan"), int64(-1e7)},
		"https://a":                    &describedType{amqp.Symbol("com.microsoft:uri"), "https://a"},
		"-10675199.02:48:05.4775808":   &describedType{amqp.Symbol("com.microsoft:timespan"), int64(math.MinInt64)},
	} {
		if got := textOf(v); got != want {
			t.Errorf("%#v is %q, want %q", v, got, want)
		}
	}
}
