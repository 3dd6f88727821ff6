"""Internal functions that other services call by name: only the admin key reaches them."""

from __future__ import annotations

import pytest

from rehearsal.world import FunctionError, Person

pytestmark = pytest.mark.anyio

INTERNAL = {
    "users:createUser": "mutation",
    "users:getUserById": "query",
    "users:getUserIdByClerkId": "query",
    "diaries:createDiaryInternal": "mutation",
    "music:createPendingMusicRecords": "mutation",
    "music:completeSunoTask": "mutation",
    "musicActions:requestSunoGeneration": "action",
    "billing:createFreeSubscription": "mutation",
    "usage:recordMusicGeneration": "mutation",
    "usage:decrementMusicGeneration": "mutation",
    "usage:getUsageSnapshot": "query",
    "revenueCatBilling:updateSubscriptionFromWebhook": "mutation",
    "revenueCatBilling:reconcileSubscription": "action",
    "revenueCatBilling:reconcileSubscriptionWithData": "mutation",
    "revenueCatBilling:reconcileSingleSubscription": "mutation",
    "revenueCatBilling:getStaleSubscriptions": "query",
    "revenueCatBilling:reconcileStaleSubscriptions": "action",
    "callSettings:getActiveCallSettingsForExecutor": "mutation",
    "callSettings:getCallSettingsById": "query",
    "callJobs:createCallJob": "mutation",
    "callJobs:updateCallJobStatus": "mutation",
    "callJobs:incrementCallJobAttempts": "mutation",
    "callJobs:getCallJobByVapiId": "query",
    "callJobs:getCallJobById": "query",
    "callJobs:getCallSessionByVapiId": "query",
    "callJobs:updateCallSession": "mutation",
    "callJobs:updateCallSessionMetadata": "mutation",
    "service/vapi/executor:executeScheduledCalls": "action",
    "service/vapi/executor:calculateAndUpdateNextRun": "mutation",
    "service/vapi/executor:processCallJob": "action",
    "integrations/vapi/integration:scheduleVapiCall": "action",
    "callDiaryWorkflow:generateDiaryFromCall": "action",
    "callDiaryWorkflow:generateMusicForCallDiary": "action",
    "featureFlags:listFlags": "query",
    "featureFlags:setFlag": "mutation",
    "featureFlags:removeFlag": "mutation",
    "emailNotify:exportInvitations": "query",
    "blog:createDraft": "mutation",
    "blog:updateDraft": "mutation",
    "blog:publish": "mutation",
    "blog:archive": "mutation",
    "blog:deletePost": "mutation",
    "blog:setRedirects": "mutation",
    "blog:getPostAnalytics": "query",
    "blog:listRevisions": "query",
    "blog:getRevision": "query",
}


@pytest.mark.parametrize(("path", "kind"), INTERNAL.items())
async def test_internal_functions_are_there_for_the_admin_key_alone(
    alice: Person, anonymous: Person, admin: Person, path: str, kind: str
) -> None:
    """Users get "not found"; with the admin key, the function validates its arguments."""
    for person in (alice, anonymous):
        with pytest.raises(FunctionError, match="Could not find public function"):
            await person.call(kind, path, {"surprise": 1})
    with pytest.raises(FunctionError, match=r"ArgumentValidationError: .*`surprise`"):
        await admin.call(kind, path, {"surprise": 1})
