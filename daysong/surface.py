"""Every function that can be called, by module and wire name: `diaries.create_diary` is `diaries:createDiary`.

Clients may call the public ones. The internal ones are for jobs, crons, webhooks, and holders of the admin key. A
`part` may be switched off (`kernel/parts.py`), but for what is `always` on: people can delete what is theirs.
"""

from __future__ import annotations

from daysong.features import preferences, profile, stored_files
from daysong.features.blog import reading as blog_reading
from daysong.features.blog import revisions as blog_revisions
from daysong.features.blog import views as blog_views
from daysong.features.blog import writing as blog_writing
from daysong.features.days import functions as days
from daysong.features.diaries import functions as diaries
from daysong.features.diaries import unwritten
from daysong.features.diary_media import functions as diary_media
from daysong.features.diary_media import uploads
from daysong.features.feature_flags import flags
from daysong.features.feature_flags import settings as flag_settings
from daysong.features.invitations import functions as invitations
from daysong.features.library import functions as library
from daysong.features.library import playlist
from daysong.features.memory import events, extraction, highlights, people, tags
from daysong.features.music import playback, videos
from daysong.features.phone_calls import dialing, inbound
from daysong.features.phone_calls import history as call_history
from daysong.features.phone_calls import internal as call_internals
from daysong.features.phone_calls.schedule import next_call, planner, replanning
from daysong.features.phone_calls.schedule import settings as call_settings
from daysong.features.push_notifications import functions as push_notifications
from daysong.features.sharing import functions as sharing
from daysong.features.sharing import own_shares
from daysong.features.sharing import views as share_views
from daysong.features.subscriptions import accounts, reconciliation, revenuecat_billing
from daysong.features.subscriptions import functions as subscriptions
from daysong.features.users import functions as users
from daysong.kernel.functions.registry import module
from daysong.workflows import diary_removal, orphan_files, retention, vendor_events
from daysong.workflows.accounts import account_deletion, suspended_accounts
from daysong.workflows.calls import call_reaper, call_reports, call_to_diary, call_words
from daysong.workflows.moving import songs as moving_songs
from daysong.workflows.push import sending
from daysong.workflows.recovery import journal, removing, resuming
from daysong.workflows.songs import diary_to_song, song_budget, song_delivery, song_files, song_quota
from daysong.workflows.support import audit, overview, people_actions, publishing, rerun
from daysong.workflows.support import calls as support_calls
from daysong.workflows.support import costs as support_costs
from daysong.workflows.support import jobs as support_jobs
from daysong.workflows.support import people as support_people
from daysong.workflows.support import songs as support_songs
from daysong.workflows.support import webhooks as support_webhooks
from daysong.workflows.videos import song_to_video, video_delivery, video_removal

# fmt: off
SURFACE = (
    module("users",
        public=(
            preferences.get_settings, preferences.update_settings, profile.get_user_profile,
            accounts.ensure_current_user, account_deletion.delete_account,
        ),
        internal=(
            accounts.create_user, users.get_user_by_id, users.get_user_id_by_clerk_id,
            account_deletion.erase_account, account_deletion.erasure, account_deletion.next_files,
            account_deletion.next_calls, account_deletion.erase_rows, account_deletion.schedule_next_run,
            account_deletion.erase_user, account_deletion.resume_erasures, suspended_accounts.lift_lock,
        )),
    module("billing",
        public=(subscriptions.get_plans, subscriptions.get_current_user_status),
        internal=(subscriptions.create_free_subscription,)),
    module("usage",
        public=(
            subscriptions.get_current_user_usage, subscriptions.can_current_user_generate_music,
            subscriptions.check_usage_with_reconciliation, subscriptions.record_current_user_music_generation,
            days.get_usage_by_week,
        ),
        internal=(
            subscriptions.get_usage_snapshot, subscriptions.record_music_generation,
            subscriptions.decrement_music_generation, subscriptions.record_video_generation,
            subscriptions.decrement_video_generation,
        )),
    module("revenueCatBilling", part="billing",
        internal=(
            reconciliation.get_stale_subscriptions, reconciliation.reconcile_stale_subscriptions,
            reconciliation.begin_reconciliation, reconciliation.advance_run, reconciliation.is_run_in_progress,
            reconciliation.verify_page, revenuecat_billing.refresh_from_webhook,
            revenuecat_billing.update_subscription_from_webhook,
            revenuecat_billing.reconcile_subscription_with_data,
            revenuecat_billing.reconcile_single_subscription, revenuecat_billing.reconcile_subscription,
            revenuecat_billing.people_known_by, revenuecat_billing.current_person,
        )),
    module("diaries",
        public=(
            diaries.create_diary, diaries.update_diary, diaries.list_diaries, diaries.page_diaries,
            diaries.get_diary, diary_removal.delete_diary, days.get_calendar, days.on_this_day,
        ),
        internal=(
            diaries.create_diary_internal, unwritten.remove_if_unwritten, extraction.process_diary_entry,
            extraction.begin_reading, extraction.save_events, extraction.end_reading, extraction.give_up_reading,
        )),
    module("diaryMedia",
        public=(
            uploads.generate_upload_url, diary_media.create_diary_media, diary_media.get_diary_media,
            diary_media.delete_diary_media,
        ),
        internal=(
            uploads.issue_upload, uploads.begin_upload, uploads.finish_upload, uploads.remove_unattached,
        )),
    module("events", part="memory", public=(events.get_event, events.update_event)),
    module("memory/events", part="memory", public=(events.get_timeline_events,)),
    module("memory/people", part="memory",
        public=(
            people.list_people, people.get_person_detail, people.update_person, people.merge_people,
            highlights.generate_person_highlight,
        ),
        internal=(
            highlights.check_account, highlights.begin_highlight, highlights.save_highlight, highlights.fail_highlight,
        )),
    module("memory/tags", part="memory", public=(tags.list_tags,)),
    module("music",
        public=(
            playlist.list_playlist_music, playlist.page_playlist, playlist.get_playlist_owner_names, playback.get_music,
            playback.list_tracks, library.soft_delete_music, diary_to_song.start_diary_music_generation,
        ),
        internal=(
            playback.generation_progress, song_quota.current_person_and_song, diary_to_song.begin_generation,
            diary_to_song.give_up, diary_to_song.start_writing, diary_to_song.save_lyrics, diary_to_song.mark_requested,
            diary_to_song.mark_rejected, diary_to_song.create_pending_music_records,
            diary_to_song.fail_generation, song_budget.account_of_caller, song_delivery.fail_if_overdue,
            song_delivery.fail_if_audio_is_overdue, song_delivery.check_audio, song_delivery.settle_audio,
            song_delivery.complete_suno_task, song_delivery.apply_poll, song_delivery.poll_suno_task,
            song_delivery.deliverable_task, song_delivery.task_to_poll, song_delivery.sweep_generations,
            song_files.file_sources, song_files.fetch_timed_lyrics,
            song_files.retry_timed_lyrics, song_files.save_timed_lyrics, song_files.copy_files, song_files.record_file,
        )),
    module("userSongs",
        public=(library.add_from_share, library.is_share_in_library, library.remove_from_library),
        internal=(library.link_user_to_music,)),
    module("musicActions",
        internal=(stored_files.remove_stored_files, diary_to_song.request_suno_generation)),
    module("videos", part="video", always=(video_removal.delete_video,),
        public=(
            videos.list_videos_for_music, videos.get_video, videos.set_as_primary_video, video_removal.delete_video,
        ),
        internal=(
            song_to_video.begin_video, song_to_video.give_up_video, song_to_video.start_writing_prompt,
            song_to_video.save_video_prompt, song_to_video.mark_video_requested, song_to_video.mark_video_rejected,
            song_to_video.create_pending_video_record, song_to_video.fail_video_generation,
            video_delivery.fail_video_if_overdue, video_delivery.awaited_video, video_delivery.check_video,
            video_delivery.apply_video_task, video_delivery.keep_video, video_delivery.complete_kie_video_task,
            video_delivery.sweep_videos,
        )),
    module("videoActions", part="video",
        public=(song_to_video.start_video_generation,),
        internal=(song_to_video.request_kie_video_generation,)),
    module("sharing",
        public=(
            sharing.create_share_link, sharing.get_shared_music, own_shares.list_shared_music,
            own_shares.set_share_privacy, own_shares.toggle_share_privacy, own_shares.set_share_options,
            own_shares.revoke_share, share_views.record_share_view,
        ),
        internal=(share_views.tally_share_views,)),
    module("callSettings", part="phone",
        public=(call_settings.upsert_call_settings, call_settings.send_test_call, next_call.get_next_call),
        internal=(call_settings.get_active_call_settings_for_executor, call_settings.get_call_settings_by_id)),
    module("callJobs", part="phone", always=(call_history.get_dashboard_stats, call_words.delete_call_session),
        public=(
            call_history.get_call_jobs, call_history.get_call_job_stats, call_history.get_call_sessions,
            call_history.get_dashboard_stats, call_words.delete_call_session,
        ),
        internal=(
            call_internals.create_call_job, call_internals.update_call_job_status,
            call_internals.increment_call_job_attempts, call_internals.get_call_job_by_vapi_id,
            call_internals.get_call_job_by_id, call_internals.get_call_session_by_vapi_id,
            call_internals.update_call_session, call_internals.update_call_session_metadata,
        )),
    module("service/vapi/executor",
        internal=(
            dialing.process_call_job, dialing.account_of_call, dialing.take_line, dialing.record_placed,
            dialing.record_refused, dialing.schedule_look_up, dialing.fail_lost_call, dialing.look_up_call,
            dialing.get_requested_call, dialing.dispatch_waiting_calls, planner.execute_scheduled_calls,
            planner.has_work, planner.claim_due_settings, planner.calculate_and_update_next_run,
            planner.cancel_late_calls, replanning.replan_calls, replanning.replan_page,
        )),
    module("integrations/vapi/integration",
        internal=(dialing.schedule_vapi_call, inbound.answer_call)),
    module("callDiaryWorkflow",
        internal=(
            call_to_diary.use_own_words, call_to_diary.generate_diary_from_call, call_to_diary.get_call_transcript,
            call_to_diary.save_call_diary, call_to_diary.generate_music_for_call_diary, call_to_diary.owner_of,
            call_to_diary.begin_call_song, call_to_diary.delete_vapi_call,
        )),
    module("callReports",
        internal=(
            call_reports.read_answer, call_reports.unread_answer, call_reports.mark_model_requested,
            call_reports.mark_model_rejected, call_reports.apply_answer, call_reports.conclude_as_unclear,
        )),
    module("callReaper",
        internal=(call_reaper.reap_calls, call_reaper.give_up_poll, call_reaper.poll_call, call_reaper.apply_polled)),
    module("featureFlags",
        public=(flags.get_user_flags,),
        internal=(flag_settings.list_flags, flag_settings.set_flag, flag_settings.remove_flag)),
    module("emailNotify", part="invitations",
        public=(invitations.add_email_notification,),
        internal=(invitations.export_invitations, invitations.remove_invitation)),
    module("blog", part="blog",
        public=(
            blog_reading.list_published, blog_reading.list_recent, blog_reading.list_by_tag, blog_reading.get_by_slug,
            blog_reading.get_draft_by_preview_token, blog_views.increment_view_count,
        ),
        internal=(
            blog_writing.create_draft, blog_writing.update_draft, blog_writing.create_preview_token,
            blog_writing.publish, blog_writing.archive, blog_writing.delete_post, blog_writing.set_redirects,
            blog_writing.list_posts, blog_writing.get_post, blog_writing.get_post_analytics, blog_views.tally_views,
            blog_revisions.list_revisions, blog_revisions.get_revision,
        )),
    module("pushNotifications", part="push", always=(push_notifications.unregister_push_token,),
        public=(
            push_notifications.register_push_token, push_notifications.unregister_push_token,
            push_notifications.get_my_push_tokens, push_notifications.set_preferences,
            push_notifications.get_preferences,
        ),
        internal=(
            sending.send_notification, sending.take_notification, sending.note_not_sent, sending.record_tickets,
            sending.give_up_notification, sending.read_receipts, sending.unread_tickets, sending.record_receipts,
        )),
    module("moving",
        internal=(moving_songs.copy_imported_files,)),
    module("support/people",
        internal=(
            support_people.find_people, support_people.show_person, people_actions.grant_songs,
            people_actions.set_song_limit, people_actions.block_person, people_actions.unblock_person,
            people_actions.erase_person,
        )),
    module("support/songs",
        internal=(
            support_songs.list_songs, support_songs.show_song, support_songs.read_song, rerun.rerun_song,
            rerun.begin_rerun,
        )),
    module("support/calls",
        internal=(support_calls.list_calls, support_calls.show_call, support_calls.read_call)),
    module("support/jobs",
        internal=(
            support_jobs.list_jobs, support_jobs.show_job, support_jobs.retry_job, support_jobs.cancel_job,
        )),
    module("support/webhooks",
        internal=(
            support_webhooks.list_events, support_webhooks.show_event, support_webhooks.read_event,
            support_webhooks.replay_event,
        )),
    module("support/overview",
        internal=(overview.count_days, overview.show_state, support_costs.list_costs)),
    module("support/publishing",
        internal=(publishing.change_flag, publishing.drop_flag, publishing.change_post)),
    module("support/audit", internal=(audit.list_entries,)),
    module("files",
        internal=(orphan_files.files_without_row,)),
    module("webhooks",
        internal=(
            vendor_events.handle_clerk_event, vendor_events.handle_revenuecat_event,
            vendor_events.handle_suno_event, vendor_events.handle_kie_event, vendor_events.handle_vapi_event,
        )),
    module("recovery",
        internal=(
            journal.write_journal, journal.recorded_removals, journal.delete_recorded, removing.remove_again,
            resuming.get_hold, resuming.resume,
        )),
    module("crons",
        internal=(
            retention.retention, retention.delete_expired_rows, retention.delete_unused_numbers,
            song_budget.count_costs,
        )),
)
# fmt: on
