// Two things that a model does not say: an act on a document, and business errors
// with a status and a code of their own.
const cds = require("@sap/cds");

module.exports = class ERP extends cds.ApplicationService {
  init() {
    this.before("CREATE", "SupplierInvoices", (req) => {
      const own = { LOCKED: 423, CLOSED: 409, UNKNOWN: 400 }[req.data.supplier];
      if (own) req.reject({ status: own, code: "SUPPLIER_" + req.data.supplier, message: "the supplier is " + req.data.supplier.toLowerCase() });
    });
    this.on("release", "SupplierInvoices", async (req) => {
      await UPDATE(req.subject).with({ status: "released" });
      return SELECT.one.from(req.subject);
    });
    return super.init();
  }
};
