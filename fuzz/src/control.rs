//! Any bytes as a call on the operators' socket: no call, or one that reads back as it was.

use relaywatch::control::{
    AcceptNormal, Call, EndRelabel, ForgetAddress, ForgetOldKeys, ImportAccounts, JournalAside, JournalRecovery,
    LabelIncident, Rebuild, RebuildStep, Relabel, RelabelStep, Reseal, RotateKeys,
};

fn reads_back<C: Call>(data: &[u8]) {
    let Ok(call) = serde_json::from_slice::<C>(data) else { return };
    let once = serde_json::to_string(&call).expect("a call can be written");
    let again: C = serde_json::from_str(&once).expect("and read again");
    assert_eq!(serde_json::to_string(&again).expect("written"), once);
}

/// Checks one input.
pub fn check(data: &[u8]) {
    reads_back::<AcceptNormal>(data);
    reads_back::<ForgetAddress>(data);
    reads_back::<ForgetOldKeys>(data);
    reads_back::<ImportAccounts>(data);
    reads_back::<JournalAside>(data);
    reads_back::<JournalRecovery>(data);
    reads_back::<LabelIncident>(data);
    reads_back::<Rebuild>(data);
    reads_back::<RebuildStep>(data);
    reads_back::<Relabel>(data);
    reads_back::<RelabelStep>(data);
    reads_back::<EndRelabel>(data);
    reads_back::<Reseal>(data);
    reads_back::<RotateKeys>(data);
}
